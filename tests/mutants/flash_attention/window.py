"""Wrong and right sliding windows."""

import mlx.core as mx

from course_lib.techniques import flash_attention as reference

from .. import mutant, rival

WINDOW = "flash_attention.window_attention"


def _window(q, k, v, scale, window, query_block, key_block, *, skip=True, of_block=False):
    L, S = q.shape[2], k.shape[2]
    keys, values = (mx.repeat(x, q.shape[1] // x.shape[1], axis=1) for x in (k, v))
    out = []
    for i in range(0, L, query_block):
        block = q[:, :, i : i + query_block]
        n = block.shape[2]
        position = mx.arange(S - L + i, S - L + i + n)[:, None]
        begin = max(0, S - L + i + 1 - window) // key_block * key_block if skip else 0
        end = S - L + i + n
        at = mx.arange(begin, end)
        seen = (at <= position) & (at > (S - L + i if of_block else position) - window)
        scores = mx.where(seen, block * scale @ keys[:, :, begin:end].swapaxes(-1, -2), -mx.inf)
        out.append(mx.softmax(scores, axis=-1) @ values[:, :, begin:end])
    return mx.concatenate(out, axis=2)


def _reference(q, k, v, scale, window, query_block, key_block):
    return reference.flash_attention(q, k, v, scale=scale, mask="causal", window=window, query_block=query_block, key_block=key_block)


@mutant(WINDOW, "window_ignored")
def ignores(queries, keys, values, *, scale, window, query_block=64, key_block=128):
    return _reference(queries, keys, values, scale, None, query_block, key_block)


@mutant(WINDOW, "one_more")
def one_more(queries, keys, values, *, scale, window, query_block=64, key_block=128):
    return _reference(queries, keys, values, scale, window + 1, query_block, key_block)


@mutant(WINDOW, "one_less")
def one_less(queries, keys, values, *, scale, window, query_block=64, key_block=128):
    return _reference(queries, keys, values, scale, max(1, window - 1), query_block, key_block)


@mutant(WINDOW, "block_window")
def the_blocks_window(queries, keys, values, *, scale, window, query_block=64, key_block=128):
    return _window(queries, keys, values, scale, window, query_block, key_block, of_block=True)


@mutant(WINDOW, "not_skipped")
def masks_alone(queries, keys, values, *, scale, window, query_block=64, key_block=128):
    return _window(queries, keys, values, scale, window, query_block, key_block, skip=False)


@rival(WINDOW)
def one_softmax_a_block(queries, keys, values, *, scale, window, query_block=64, key_block=128):
    return _window(queries, keys, values, scale, window, query_block, key_block)
