"""The exercises, one module a notebook."""

# The course's order: modules that are not listed here are not part of the course.
ORDER = [
    "start_here",
    "kv_cache",
    "quantization",
    "quantization_gpu",
    "flash_attention",
    "flash_attention_gpu",
    "continuous_batching",
    "chunked_prefill",
    "paged_kv_cache",
    "build_your_own_vllm",
    "fast_on_a_cpu",
]
