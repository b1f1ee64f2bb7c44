"""One attention layer over a prompt in chunks: positions, masks, remainder."""

import mlx.core as mx
import numpy as np

from ....techniques import chunked_prefill as reference
from ....techniques.cached_attention import AttentionLayer
from ...exercise import Exercise

NAMES = {"mx": mx, "np": np}

layer = Exercise(
    "chunked_prefill.layer",
    "A prompt in chunks, through one layer",
    name="prefill_layer",
    reference=reference.prefill_layer,
    names=NAMES,
    mistakes={
        "square": (
            "From the second chunk on, the triangle of the mask begins at the first key: a square where a rectangle is "
            "wanted. The L queries of a chunk are the newest of the start + L tokens; query i sees keys 0 to start + i."
        ),
        "no_mask": "Tokens of a chunk see those after them. Earlier chunks are visible whole, the chunk itself only up to each query.",
        "offset_restarts": (
            "The rotation begins again at position 0 in every chunk. The first token of a chunk stands where the tokens "
            "before it end: `layer.rope(queries, start)`, and the keys likewise."
        ),
        "query_offset": "The queries of later chunks are rotated to positions from 0, the keys to the right ones. Query and key of one token stand at the same position.",
        "key_offset": "The keys of later chunks are rotated to positions from 0, the queries to the right ones. Query and key of one token stand at the same position.",
        "alone": "Each chunk attends to itself alone. Keep the keys and values of the chunks before it, and attend to all of them.",
        "remainder": (
            "The last tokens are missing: the prompt is no multiple of chunk_size, and its remainder is a shorter last chunk. "
            "`range(0, S, chunk_size)` has its start; a slice ends by itself where the prompt ends."
        ),
        "whole": "The layer projected more than chunk_size tokens at once. Slice x before `layer.project`.",
        "again": "Tokens were projected more than once. Their keys and values are still there from the chunk before.",
    },
)

E, H, H_KV, D = 24, 6, 2, 8


class _Watched:
    """An attention layer that counts the tokens of each projection."""

    def __init__(self, layer):
        self._layer = layer
        self.projected = []

    def project(self, x):
        self.projected.append(x.shape[1])
        return self._layer.project(x)

    def __getattr__(self, name):
        return getattr(self._layer, name)


def _layer(t):
    return AttentionLayer(
        wq=t.normal("layer.wq", H * D, E, scale=0.4),
        wk=t.normal("layer.wk", H_KV * D, E, scale=0.4),
        wv=t.normal("layer.wv", H_KV * D, E, scale=0.4),
        wo=t.normal("layer.wo", E, H * D, scale=0.2),
        num_heads=H,
        num_kv_heads=H_KV,
        rope_base=100.0,  # small, so that a few positions turn every pair visibly
    )


def _chunks(x, layer, size, *, q_at=lambda s: s, k_at=lambda s: s, mask="rectangle", alone=False):
    """The layer in chunks by MLX's operations, with places to go wrong; a size of S is the whole prompt."""
    keys, values, outs = [], [], []
    for start in range(0, x.shape[1], size):
        q, k, v = layer.project(x[:, start : start + size])
        L = q.shape[2]
        keys.append(layer.rope(k, k_at(start)))
        values.append(v)
        K, V = (mx.concatenate(held[-1:] if alone else held, axis=2) for held in (keys, values))
        S = K.shape[2]
        seen = {"rectangle": np.tri(L, S, S - L), "square": np.tri(L, S), "none": np.ones((L, S))}[mask]
        heads = mx.fast.scaled_dot_product_attention(
            layer.rope(q, q_at(start)), K, V, scale=layer.scale, mask=mx.array(seen.astype(bool))
        )
        outs.append(layer.output(heads))
    return mx.concatenate(outs, axis=1)


def _read(answer, t, S, size, B=1):
    layer = _layer(t)
    x = t.normal("x", B, S, E)
    watched = _Watched(layer)
    given = answer(x, watched, size)
    wanted = _chunks(x, layer, S)

    def zero(start):
        return 0

    mistakes = {
        "remainder": lambda y: isinstance(y, mx.array) and y.ndim == 3 and y.shape[1] == S // size * size < S,
        "square": _chunks(x, layer, size, mask="square"),
        "no_mask": _chunks(x, layer, size, mask="none"),
        "offset_restarts": _chunks(x, layer, size, q_at=zero, k_at=zero),
        "query_offset": _chunks(x, layer, size, q_at=zero),
        "key_offset": _chunks(x, layer, size, k_at=zero),
        "alone": lambda y: any(
            _near(y, _chunks(x, layer, size, q_at=at, k_at=at, alone=True)) for at in (lambda s: s, zero)
        ),
    }
    t.close(f"prefill_layer(x {list(x.shape)}, layer, chunk_size={size})", given, wanted, mistakes=mistakes)
    largest, total = max(watched.projected, default=0), sum(watched.projected)
    words = f"With chunk_size={size} and {S} tokens, layer.project was given {watched.projected} tokens."
    t.true(largest <= size, f"{words}\nWanted: at most {size} at a time.", "whole")
    t.true(total <= S, f"{words}\nWanted: {S} in all.", "again")


@layer.case("a chunk as long as the prompt: the layer as you know it")
def _(answer, t):
    _read(answer, t, 6, 6)


@layer.case("six tokens in two chunks of three: the second stands at position 3 and sees all of the first")
def _(answer, t):
    _read(answer, t, 6, 3)


@layer.case("seven tokens in chunks of three: the last chunk is one token")
def _(answer, t):
    _read(answer, t, 7, 3)


@layer.case("every chunk size from 1 to beyond the prompt, two prompts in the batch")
def _(answer, t):
    for size in (1, 2, 4, 5, 10, 11, 30):
        _read(answer, t, 11, size, B=2)


@layer.case("a chunk of no tokens is an error")
def _(answer, t):
    small, x = _layer(t), t.normal("x", 1, 4, E)
    t.raises(ValueError, lambda: answer(x, small, 0), "prefill_layer(x, layer, chunk_size=0)")
    t.raises(ValueError, lambda: answer(x, small, -2), "prefill_layer(x, layer, chunk_size=-2)")


def _near(y, other) -> bool:
    return isinstance(y, mx.array) and y.shape == other.shape and bool(mx.allclose(y, other, atol=1e-5).item())
