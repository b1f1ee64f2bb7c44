"""One layer over a prompt in chunks."""

import mlx.core as mx
import numpy as np

from .. import mutant, rival

LAYER = "chunked_prefill.layer"


def _checked(chunk_size):
    if chunk_size < 1:
        raise ValueError(f"chunk_size {chunk_size}")


def _read(x, layer, size, *, q_at=lambda s: s, k_at=lambda s: s, mask=None, alone=False, stop=None):
    _checked(size)
    keys, values, outs = [], [], []
    for start in range(0, stop or x.shape[1], size):
        q, k, v = layer.project(x[:, start : start + size])
        q, k = layer.rope(q, q_at(start)), layer.rope(k, k_at(start))
        keys, values = ([k], [v]) if alone else ([*keys, k], [*values, v])
        K, V = mx.concatenate(keys, axis=2), mx.concatenate(values, axis=2)
        m = mask(q.shape[2], K.shape[2]) if mask else "causal"
        outs.append(layer.output(mx.fast.scaled_dot_product_attention(q, K, V, scale=layer.scale, mask=m)))
    return mx.concatenate(outs, axis=1)


def _zero(start):
    return 0


@mutant(LAYER, "square")
def layer_square_mask(x, layer, chunk_size):
    return _read(x, layer, chunk_size, mask=lambda L, S: mx.tril(mx.ones((L, S))).astype(mx.bool_))


@mutant(LAYER, "no_mask")
def layer_no_mask(x, layer, chunk_size):
    return _read(x, layer, chunk_size, mask=lambda L, S: mx.ones((L, S), dtype=mx.bool_))


@mutant(LAYER, "offset_restarts")
def layer_restarts(x, layer, chunk_size):
    return _read(x, layer, chunk_size, q_at=_zero, k_at=_zero)


@mutant(LAYER, "query_offset")
def layer_queries_at_zero(x, layer, chunk_size):
    return _read(x, layer, chunk_size, q_at=_zero)


@mutant(LAYER, "key_offset")
def layer_keys_at_zero(x, layer, chunk_size):
    return _read(x, layer, chunk_size, k_at=_zero)


@mutant(LAYER, "alone")
def layer_chunks_alone(x, layer, chunk_size):
    return _read(x, layer, chunk_size, alone=True)


@mutant(LAYER, "remainder")
def layer_drops_the_rest(x, layer, chunk_size):
    _checked(chunk_size)
    return _read(x, layer, chunk_size, stop=max(chunk_size, x.shape[1] // chunk_size * chunk_size))


@mutant(LAYER, "whole")
def layer_projects_all(x, layer, chunk_size):
    _checked(chunk_size)
    return _read(x, layer, x.shape[1])


@mutant(LAYER, "again")
def layer_projects_again(x, layer, chunk_size):
    _checked(chunk_size)
    for start in range(0, x.shape[1], chunk_size):
        layer.project(x[:, start : start + chunk_size])
    return _read(x, layer, chunk_size)


@mutant(LAYER, "changed_input")
def layer_writes_into_x(x, layer, chunk_size):
    out = _read(x, layer, chunk_size)
    x[:, :1] = out[:, :1]
    return out


@mutant(LAYER, None)
def layer_takes_any_size(x, layer, chunk_size):
    return _read(x, layer, max(1, chunk_size))


@rival(LAYER)
class LayerWithACache:
    """Not even a function: reads through a buffer of the full length, token positions masked by hand."""

    def __new__(cls, x, layer, chunk_size):
        if chunk_size <= 0:
            raise ValueError("a chunk needs tokens")
        S, at, out = x.shape[1], 0, mx.zeros(x.shape)
        K = V = None
        while at < S:
            n = min(chunk_size, S - at)
            q, k, v = layer.project(x[:, at : at + n])
            if K is None:
                K, V = (mx.zeros((*y.shape[:2], S, y.shape[3])) for y in (k, v))
            K[:, :, at : at + n], V[:, :, at : at + n] = layer.rope(k, at), v
            seen = np.arange(S)[None] <= (at + np.arange(n))[:, None]
            heads = mx.fast.scaled_dot_product_attention(
                layer.rope(q, at), K, V, scale=layer.scale, mask=mx.where(mx.array(seen), 0.0, -1e9)
            )
            out[:, at : at + n] = layer.output(heads)
            at += n
        return out
