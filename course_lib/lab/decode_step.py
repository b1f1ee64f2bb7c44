"""One decode step of a real engine's cache, to be timed: how long a step takes when everybody has read so much."""

from collections.abc import Callable
from typing import Any

import mlx.core as mx

from course_lib.engine import Engine, EngineConfig
from course_lib.engine.cache_room import bytes_a_token, make_cache
from course_lib.techniques.batched_kv_cache import BatchedKVCache
from course_lib.techniques.scheduling import Work


def decode_step(
    model: Any, tokenizer: Any, *, batch: int, context: int, block_size: int | None, steps: int = 64
) -> Callable[[], mx.array]:
    """A function that decodes one more token for each of `batch` requests, and returns the logits [batch, V].

    What the requests have read is made up: their keys and values are zeros, which takes as long to read as any.

    Args:
        context: tokens that each request holds at first.
        block_size: of the paged cache; None for contiguous rows.
        steps: how often the function can be called.
    """
    total = context + steps + 1
    rounded = total + (block_size or 0)
    config = EngineConfig(
        max_num_seqs=batch, max_model_len=total + 1, block_size=block_size, enable_prefix_caching=False,
        kv_cache_memory_bytes=batch * rounded * bytes_a_token(model) if block_size else None,
    )  # fmt: skip
    engine = Engine(model, tokenizer, config)
    layers: list[BatchedKVCache] = []

    def make_layer() -> BatchedKVCache:
        layers.append(BatchedKVCache(batch))
        return layers[-1]

    cache = make_cache(engine.config, model, make_layer)
    requests = [engine.make_request([1 + row] * total, max_tokens=1) for row in range(batch)]
    for request in requests:
        assert cache.join(request, context)
        request.num_computed_tokens = context
    shape = model.config
    zeros = mx.zeros((1, shape.num_key_value_heads, context, shape.head_dim), model.dtype)
    for layer in layers:
        for row in range(batch):
            layer.append(row, zeros, zeros)

    def step() -> mx.array:
        for request in requests:
            assert cache.reserve(request, 1), "called more often than `steps`"
        laid_out = cache.prepare([Work(request, 1) for request in requests])
        logits = model(laid_out.tokens, laid_out.layers, rows=list(range(batch)))[:, 0]
        mx.eval(logits)
        for request in requests:
            request.num_computed_tokens += 1
        return logits

    return step
