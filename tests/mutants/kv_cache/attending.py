"""The mask, and attention."""

import math

import mlx.core as mx
import numpy as np

from .. import mutant, rival

MASK = "kv_cache.causal_mask"


def _checked(L, S):
    if not 1 <= L <= S:
        raise ValueError(f"{L} queries, {S} keys")


@mutant(MASK, "strict")
def mask_without_itself(L, S):
    _checked(L, S)
    return mx.arange(S) < mx.arange(S - L, S)[:, None]


@mutant(MASK, "future")
def mask_off_by_one(L, S):
    _checked(L, S)
    return mx.arange(S) <= mx.arange(S - L + 1, S + 1)[:, None]


@mutant(MASK, "no_offset")
def mask_square(L, S):
    _checked(L, S)
    return mx.tril(mx.ones((L, S))).astype(mx.bool_)


@mutant(MASK, "inverted")
def mask_of_the_hidden(L, S):
    _checked(L, S)
    return mx.arange(S) > mx.arange(S - L, S)[:, None]


@mutant(MASK, "not_boolean")
def mask_to_add(L, S):
    _checked(L, S)
    return mx.where(mx.arange(S) <= mx.arange(S - L, S)[:, None], 0.0, -mx.inf)


@mutant(MASK, "transposed")
def mask_by_key(L, S):
    _checked(L, S)
    if L == S:
        return mx.arange(S) <= mx.arange(S)[:, None]
    return mx.arange(S)[:, None] <= mx.arange(S - L, S)


@mutant(MASK, None)
def mask_without_error(L, S):
    return mx.arange(S) <= mx.arange(S - L, S)[:, None]


@rival(MASK)
def mask_by_tril(L, S):
    if L > S:
        raise ValueError(f"{L} queries are more than {S} keys")
    if L < 1:
        raise ValueError("no query")
    return mx.array(np.tri(L, S, S - L, dtype=bool))


ATTENTION = "kv_cache.attention"


def _attend(q, k, v, scale, mask, *, heads=mx.repeat, square=False, hide=None, softmax=None):
    H, L, H_kv, S = q.shape[1], q.shape[2], k.shape[1], k.shape[2]
    if H % H_kv:
        raise ValueError(f"{H} query heads, {H_kv} key/value heads")
    k, v = (heads(x, H // H_kv, axis=1) for x in (k, v))
    scores = (q * scale) @ k.swapaxes(-1, -2)
    if isinstance(mask, str):
        mask = mx.array(np.tri(L, S, 0 if square else S - L, dtype=bool))
    if mask is not None:
        scores = hide(scores, mask) if hide else mx.where(mask, scores, -mx.inf)
    weights = softmax(scores, mask) if softmax else mx.softmax(scores, axis=-1)
    return (weights @ v).astype(q.dtype)


def _tiled(x, times, axis):
    return mx.concatenate([x] * times, axis=axis)


@mutant(ATTENTION, "wrong_heads")
def attention_tiles_heads(queries, keys, values, *, scale, mask):
    return _attend(queries, keys, values, scale, mask, heads=_tiled)


@mutant(ATTENTION, "wrong_heads")
def attention_groups_the_other_way(queries, keys, values, *, scale, mask):
    B, H, L, D = queries.shape
    H_kv, S = keys.shape[1:3]
    if H % H_kv:
        raise ValueError("heads")
    if mask == "causal":
        mask = mx.array(np.tri(L, S, S - L, dtype=bool))
    grouped = queries.reshape(B, H // H_kv, H_kv, L, D) * scale
    scores = grouped @ keys[:, None].swapaxes(-1, -2)
    if mask is not None:
        scores = mx.where(mask, scores, -mx.inf)
    return (mx.softmax(scores, axis=-1) @ values[:, None]).reshape(B, H, L, D)


@mutant(ATTENTION, "swapped")
def attention_swaps(queries, keys, values, *, scale, mask):
    return _attend(queries, values, keys, scale, mask)


@mutant(ATTENTION, "scale_missing")
def attention_unscaled(queries, keys, values, *, scale, mask):
    return _attend(queries, keys, values, 1.0, mask)


@mutant(ATTENTION, "scale_own")
def attention_scales_itself(queries, keys, values, *, scale, mask):
    return _attend(queries, keys, values, queries.shape[-1] ** -0.5, mask)


@mutant(ATTENTION, "scale_own")
def attention_scales_twice(queries, keys, values, *, scale, mask):
    return _attend(queries, keys, values, scale / math.sqrt(queries.shape[-1]), mask)


@mutant(ATTENTION, "softmax_axis")
def attention_softmax_over_queries(queries, keys, values, *, scale, mask):
    return _attend(queries, keys, values, scale, mask, softmax=lambda s, m: mx.softmax(s, axis=-2))


@mutant(ATTENTION, "mask_ignored")
def attention_sees_all(queries, keys, values, *, scale, mask):
    return _attend(queries, keys, values, scale, None)


@mutant(ATTENTION, "mask_ignored")
def attention_knows_only_causal(queries, keys, values, *, scale, mask):
    return _attend(queries, keys, values, scale, mask if isinstance(mask, str) else None)


@mutant(ATTENTION, "mask_times")
def attention_multiplies_the_mask(queries, keys, values, *, scale, mask):
    return _attend(queries, keys, values, scale, mask, hide=lambda s, m: s * m)


@mutant(ATTENTION, "mask_after")
def attention_masks_weights(queries, keys, values, *, scale, mask):
    def softmax(scores, mask):
        weights = mx.softmax(scores, axis=-1)
        return weights if mask is None else weights * mask

    return _attend(queries, keys, values, scale, mask, hide=lambda s, m: s, softmax=softmax)


@mutant(ATTENTION, "mask_from_start")
def attention_square_triangle(queries, keys, values, *, scale, mask):
    return _attend(queries, keys, values, scale, mask, square=True)


@mutant(ATTENTION, "overflow")
def attention_exp(queries, keys, values, *, scale, mask):
    def softmax(scores, mask):
        e = mx.exp(scores)
        return e / e.sum(axis=-1, keepdims=True)

    return _attend(queries, keys, values, scale, mask, softmax=softmax)


@mutant(ATTENTION, "wide_result")
def attention_stays_wide(queries, keys, values, *, scale, mask):
    q, k, v = (x.astype(mx.float32) for x in (queries, keys, values))
    return _attend(q, k, v, scale, mask)


@mutant(ATTENTION, None)
def attention_shares_unevenly(queries, keys, values, *, scale, mask):
    heads = mx.array([h * keys.shape[1] // queries.shape[1] for h in range(queries.shape[1])])
    return _attend(queries, keys[:, heads], values[:, heads], scale, mask)


@rival(ATTENTION)
def attention_head_by_head(queries, keys, values, *, scale, mask):
    B, H, L, D = queries.shape
    H_kv, S = keys.shape[1], keys.shape[2]
    if H % H_kv != 0:
        raise ValueError(f"{H} is no multiple of {H_kv}")
    if isinstance(mask, str):
        mask = mx.arange(S)[None] < mx.arange(S - L + 1, S + 1)[:, None]
    out = []
    for h in range(H):
        k, v = keys[:, h * H_kv // H], values[:, h * H_kv // H]
        scores = scale * mx.einsum("bld,bsd->bls", queries[:, h].astype(mx.float32), k.astype(mx.float32))
        if mask is not None:
            scores = scores + mx.where(mask, 0.0, -1e30)
        e = mx.exp(scores - scores.max(axis=-1, keepdims=True))
        out.append(mx.einsum("bls,bsd->bld", e, v.astype(mx.float32)) / e.sum(axis=-1, keepdims=True))
    return mx.stack(out, axis=1).astype(queries.dtype)


@rival(ATTENTION)
def attention_by_mlx(queries, keys, values, *, scale, mask):
    return mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask=mask)
