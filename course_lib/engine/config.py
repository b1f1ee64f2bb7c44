"""What an engine is told once, when it is made."""

from dataclasses import dataclass

from course_lib.techniques.scheduling import Limits


@dataclass(frozen=True)
class EngineConfig(Limits):
    """The limits of a step, and of a request.

    Fields that vLLM has, too, are named as there
    (https://docs.vllm.ai/en/latest/configuration/engine_args/).

    Attributes:
        max_model_len: most tokens of a request, prompt and answer together; None for the model's context.
        kv_cache_memory_bytes: bytes for the KV cache. Contiguous: as many requests run at a time as rows of
            max_model_len tokens fit in; None for max_num_seqs. Paged: the pool; None for 512 MiB.
        block_size: tokens of a block of the paged cache; None for the contiguous cache.
        enable_prefix_caching: paged only: requests that begin alike share the blocks of their beginning.
        step_history: how many of its latest steps the engine remembers, for plots.

    Raises:
        ValueError: as `Limits`; or one of these below 1.
    """

    max_model_len: int | None = None
    kv_cache_memory_bytes: int | None = None
    block_size: int | None = None
    enable_prefix_caching: bool = True
    step_history: int = 10_000

    def __post_init__(self) -> None:
        super().__post_init__()
        least = {"max_model_len": 2, "kv_cache_memory_bytes": 1, "block_size": 1, "step_history": 1}
        for name, smallest in least.items():
            value = getattr(self, name)
            if value is None and name != "step_history":
                continue
            if type(value) is not int or value < smallest:
                raise ValueError(f"{name}={value!r}; wanted an integer, at least {smallest}")
