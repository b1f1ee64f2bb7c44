"""Wrong and right flash attention."""

import mlx.core as mx

from course_lib.techniques import flash_attention as reference

from .. import mutant, rival

FLASH = "flash_attention.flash_attention"


def _checked(q, k, mask):
    if q.shape[1] % k.shape[1] or (isinstance(mask, str) and q.shape[2] > k.shape[2]):
        raise ValueError("does not fit")


def _flash(q, k, v, scale, mask, query_block, key_block, *, late=0, offset=None, skip=True, step=reference.take_up, anew=False, whole_keys=False, boolean=False, evaluate=True, check=True):
    """The right one, head by head, with one thing done otherwise."""
    if check:
        _checked(q, k, mask)
    B, H, L, D = q.shape
    S, G = k.shape[2], H // k.shape[1]
    offset = S - L if offset is None else offset
    out = []
    for b in range(B):
        for h in range(H):
            rows = []
            for i in range(0, L, query_block):
                block = q[b, h, i : i + query_block] * scale
                n = block.shape[0]
                carried = reference.nothing_yet(n, D)
                end = S // key_block * key_block if whole_keys and S >= key_block else S
                if isinstance(mask, str) and skip:
                    end = min(S, max(1, offset + late + i + n))
                for j in range(0, end, key_block):
                    if anew:
                        carried = reference.nothing_yet(n, D)
                    scores = block @ k[b, h // G, j : j + key_block].T
                    m = scores.shape[1]
                    if isinstance(mask, str):
                        position = mx.arange(i, i + n)[:, None] + offset + late
                        scores = mx.where(mx.arange(j, j + m) <= position, scores, -mx.inf)
                    elif mask is not None:
                        part = mx.broadcast_to(mask, (B, H, L, S))[b, h, i : i + n, j : j + m]
                        if boolean or mask.dtype == mx.bool_:
                            scores = mx.where(part, scores, -mx.inf)
                        else:
                            scores = scores + part
                    carried = step(carried, scores, v[b, h // G, j : j + key_block])
                rows.append(reference.result(carried))
                if evaluate:
                    mx.eval(rows[-1])
            out.append(mx.concatenate(rows))
    return mx.stack(out).reshape(B, H, L, D)


def _mutant(mistake, name, **change):
    def answer(queries, keys, values, *, scale, mask=None, query_block=64, key_block=128):
        return _flash(queries, keys, values, scale, mask, query_block, key_block, **change)

    answer.__name__ = name
    mutant(FLASH, mistake)(answer)


def _no_rescale(carried, scores, values):
    largest = mx.maximum(carried.largest, mx.max(scores, axis=-1, keepdims=True))
    base = mx.where(largest == -mx.inf, 0, largest)
    weights = mx.exp(scores - base)
    return reference.Carried(largest, carried.total + mx.sum(weights, axis=-1, keepdims=True), carried.weighted + weights @ values)


def _own_largest(carried, scores, values):
    largest = mx.max(scores, axis=-1, keepdims=True)
    weights = mx.exp(scores - mx.where(largest == -mx.inf, 0, largest))
    return reference.Carried(largest, carried.total + mx.sum(weights, axis=-1, keepdims=True), carried.weighted + weights @ values)


_mutant("late", "sees_the_next", late=1)
_mutant("early", "not_its_own", late=-1)
_mutant("top_left", "no_offset", offset=0)
_mutant("not_skipped", "masks_but_reads", skip=False)
_mutant("no_rescale", "no_rescale", step=_no_rescale)
_mutant("own_largest", "own_largest", step=_own_largest)
_mutant("not_carried", "anew", anew=True)
_mutant("last_keys", "drops_the_last_tile", whole_keys=True)
_mutant("added_as_boolean", "takes_floats_for_booleans", boolean=True)
_mutant("no_error", "no_error", check=False)


@mutant(FLASH, "wrong_head")
def modulo(queries, keys, values, *, scale, mask=None, query_block=64, key_block=128):
    _checked(queries, keys, mask)
    G = queries.shape[1] // keys.shape[1]
    keys, values = (mx.concatenate([x] * G, axis=1) for x in (keys, values))
    return _flash(queries, keys, values, scale, mask, query_block, key_block)


@mutant(FLASH, "first_head")
def one_head(queries, keys, values, *, scale, mask=None, query_block=64, key_block=128):
    _checked(queries, keys, mask)
    return _flash(queries, keys[:, :1], values[:, :1], scale, mask, query_block, key_block)


@mutant(FLASH, "no_mask")
def without_mask(queries, keys, values, *, scale, mask=None, query_block=64, key_block=128):
    _checked(queries, keys, mask)
    return _flash(queries, keys, values, scale, None, query_block, key_block)


@mutant(FLASH, "scale_twice")
def twice(queries, keys, values, *, scale, mask=None, query_block=64, key_block=128):
    return _flash(queries * scale, keys, values, scale, mask, query_block, key_block)


@mutant(FLASH, "no_scale")
def unscaled(queries, keys, values, *, scale, mask=None, query_block=64, key_block=128):
    return _flash(queries, keys, values, 1.0, mask, query_block, key_block)


@mutant(FLASH, "whole_matrix")
def the_whole_matrix(queries, keys, values, *, scale, mask=None, query_block=64, key_block=128):
    """Right in every number, without the technique."""
    _checked(queries, keys, mask)
    H, L, S = queries.shape[1], queries.shape[2], keys.shape[2]
    keys, values = (mx.repeat(x, H // x.shape[1], axis=1) for x in (keys, values))
    if isinstance(mask, str):
        mask = mx.arange(S) <= mx.arange(S - L, S)[:, None]
    scores = queries * scale @ keys.swapaxes(-1, -2)
    if mask is not None:
        scores = mx.where(mask, scores, -mx.inf) if mask.dtype == mx.bool_ else scores + mask
    weights = reference.stable_softmax(scores)
    return weights @ mx.where(mx.isnan(values), 0, values)


@rival(FLASH)
def head_by_head(queries, keys, values, *, scale, mask=None, query_block=64, key_block=128):
    return _flash(queries, keys, values, scale, mask, query_block, key_block)


@rival(FLASH)
def repeats_the_heads(queries, keys, values, *, scale, mask=None, query_block=64, key_block=128):
    _checked(queries, keys, mask)
    H = queries.shape[1]
    keys, values = (mx.repeat(x, H // x.shape[1], axis=1) for x in (keys, values))
    return reference.flash_attention(queries, keys, values, scale=scale, mask=mask, query_block=query_block, key_block=key_block)
