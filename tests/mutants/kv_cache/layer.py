"""One layer's step with a cache."""

import mlx.core as mx
import numpy as np

from .. import mutant, rival

LAYER = "kv_cache.cached_attention"


def _attend(q, k, v, scale, causal=True):
    mask = mx.array(np.tri(q.shape[2], k.shape[2], k.shape[2] - q.shape[2], dtype=bool)) if causal else None
    return mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask=mask)


def _step(
    x, layer, cache, *, q_at=lambda cache, L: cache.offset, k_at=lambda cache, L: cache.offset, causal=True
):
    q, k, v = layer.project(x)
    L = x.shape[1]
    q, k = layer.rope(q, q_at(cache, L)), layer.rope(k, k_at(cache, L))
    k, v = cache.update_and_fetch(k, v)
    return layer.output(_attend(q, k, v, layer.scale, causal))


def _zero(cache, L):
    return 0


@mutant(LAYER, "offset_missing")
def step_at_zero(x, layer, cache):
    return _step(x, layer, cache, q_at=_zero, k_at=_zero)


@mutant(LAYER, "offset_late")
def step_reads_offset_late(x, layer, cache):
    q, k, v = layer.project(x)
    before = cache.offset
    k, v = cache.update_and_fetch(layer.rope(k, before), v)
    return layer.output(_attend(layer.rope(q, cache.offset), k, v, layer.scale))


@mutant(LAYER, "query_offset")
def step_query_at_zero(x, layer, cache):
    return _step(x, layer, cache, q_at=_zero)


@mutant(LAYER, "key_offset")
def step_key_at_zero(x, layer, cache):
    return _step(x, layer, cache, k_at=_zero)


@mutant(LAYER, "no_rope")
def step_without_positions(x, layer, cache):
    q, k, v = layer.project(x)
    k, v = cache.update_and_fetch(k, v)
    return layer.output(_attend(q, k, v, layer.scale))


@mutant(LAYER, "values_rotated")
def step_turns_values(x, layer, cache):
    q, k, v = layer.project(x)
    q, k, v = (layer.rope(y, cache.offset) for y in (q, k, v))
    k, v = cache.update_and_fetch(k, v)
    return layer.output(_attend(q, k, v, layer.scale))


@mutant(LAYER, "mask_missing")
def step_sees_the_future(x, layer, cache):
    return _step(x, layer, cache, causal=False)


@mutant(LAYER, "only_new")
def step_attends_to_itself(x, layer, cache):
    q, k, v = layer.project(x)
    q, k = layer.rope(q, cache.offset), layer.rope(k, cache.offset)
    cache.update_and_fetch(k, v)
    return layer.output(_attend(q, k, v, layer.scale))


@mutant(LAYER, "swapped")
def step_swaps(x, layer, cache):
    q, k, v = layer.project(x)
    q, k = layer.rope(q, cache.offset), layer.rope(k, cache.offset)
    v, k = cache.update_and_fetch(k, v)
    return layer.output(_attend(q, k, v, layer.scale))


@mutant(LAYER, "updated_twice")
def step_updates_twice(x, layer, cache):
    q, k, v = layer.project(x)
    q, k = layer.rope(q, cache.offset), layer.rope(k, cache.offset)
    keys = cache.update_and_fetch(k, v)[0]
    values = cache.update_and_fetch(k, v)[1]
    return layer.output(_attend(q, keys, values[:, :, : keys.shape[2]], layer.scale))


@mutant(LAYER, "not_updated")
def step_only_looks(x, layer, cache):
    q, k, v = layer.project(x)
    q, k = layer.rope(q, cache.offset), layer.rope(k, cache.offset)
    return layer.output(_attend(q, k, v, layer.scale))


@rival(LAYER)
def step_token_by_token(x, layer, cache):
    """Rotates and updates all at once, then attends one query after the other."""
    queries, keys, values = layer.project(x)
    first = cache.offset
    held, gathered = cache.update_and_fetch(layer.rope(keys, first), values)
    rows = []
    for i in range(x.shape[1]):
        q = layer.rope(queries[:, :, i : i + 1], first + i)
        rows.append(
            _attend(
                q, held[:, :, : first + i + 1], gathered[:, :, : first + i + 1], layer.scale, causal=False
            )
        )
    return layer.output(mx.concatenate(rows, axis=2))
