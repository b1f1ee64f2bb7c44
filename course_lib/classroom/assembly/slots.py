"""Where in the engine a learner's answer can stand."""

from dataclasses import dataclass

# The engine's three kinds of KV cache, by what a request is given.
BLOCKS, ROWS, REQUESTS = "blocks", "rows", "requests"
CACHES = (BLOCKS, ROWS, REQUESTS)


@dataclass(frozen=True)
class Slot:
    """A place for a part.

    Attributes:
        name: as in `my_engine(reference=["schedule"])`.
        does: what the part does, in a few words.
        answers: ids of exercises and rungs that fit, the best first.
        slow: ids that fit, too, and are far slower than the native kernels: Python that walks over numbers.
        cache: the kind of cache that the part belongs to; None for all.
        with_it: ids of answers that run inside of this part.
    """

    name: str
    does: str
    answers: tuple[str, ...]
    slow: tuple[str, ...] = ()
    cache: str | None = None
    with_it: tuple[str, ...] = ()


_TABLES = ("paged_kv_cache.allocator", "paged_kv_cache.block_table", "paged_kv_cache.prefix_cache")

SLOTS = (
    Slot("schedule", "what a step works on", ("chunked_prefill.schedule", "continuous_batching.schedule")),
    Slot("make_room", "who gets room in the cache", ("build_your_own_vllm.make_room",)),
    Slot(
        "books", "whose a block is", ("paged_kv_cache.fork", "paged_kv_cache.sharing"), cache=BLOCKS,
        with_it=(*_TABLES, "paged_kv_cache.sharing"),
    ),
    Slot("pool", "keys and values in blocks", ("paged_kv_cache.pool",), cache=BLOCKS),
    Slot("rows", "keys and values in rows", ("continuous_batching.batched_cache",), cache=ROWS),
    Slot("request_cache", "keys and values of one request", ("kv_cache.preallocated", "kv_cache.concat"), cache=REQUESTS),
    Slot("lay_out", "a step in one line of tokens", ("chunked_prefill.lay_out",), cache=REQUESTS),
    Slot("ragged_layer", "attention of a mixed step", ("chunked_prefill.ragged_layer",), cache=REQUESTS),
    Slot("attention", "attention", ("attention.threads", "attention.vectors", "attention.tiled"), ("flash_attention.flash_attention",)),
    Slot(
        "linear", "quantized matmul", ("quantized_matmul.tiles", "quantized_matmul.threads", "quantized_matmul.vectors"),
        ("quantization.matmul",),
    ),
    Slot("rms_norm", "the norm before each block", ("start_here.rms_norm",)),
    Slot("top_p", "which tokens may be drawn", ("start_here.top_p",)),
    Slot("stop_strings", "where a text ends", ("build_your_own_vllm.stop_strings",)),
)  # fmt: skip


def slots_for(cache: str) -> list[Slot]:
    """The places in an engine with this kind of cache."""
    return [slot for slot in SLOTS if slot.cache in (None, cache)]
