"""Attention of a ragged step: each request's tokens to its own cache."""

import mlx.core as mx
import numpy as np

from ....techniques import chunked_prefill as reference
from ....techniques.kv_cache import ConcatKVCache, KVCache
from ...exercise import Exercise
from ..kv_cache.tiny_transformer import tiny_transformer
from .layer import NAMES

ragged_layer = Exercise(
    "chunked_prefill.ragged_layer",
    "Attention in a mixed step",
    name="RaggedLayer",
    reference=reference.RaggedLayer,
    names=NAMES,
    mistakes={
        "offset_kind": "`offset` is the position of each token of the step: an MLX array of T integers.",
        "offset_restarts": "The positions of each request's tokens begin at 0. They begin at its cache's `offset`, before the update.",
        "shared": "Tokens of one request look at those of another. Cut the step's rows by `counts`, and give each piece to its own cache.",
        "no_mask": 'Tokens of a chunk see those after them. Pass `mask="causal"`: the chunk is the end of its text, so the mask is a rectangle.',
        "square": "From a prompt's second chunk on, the triangle of the mask begins at the first key. The queries are the newest tokens: that is what `mask=\"causal\"` means.",
        "only_new": "The queries look at the new keys alone. Attend to what the cache's `update_and_fetch` returns.",
        "axes": (
            "The result has the wrong axes. A token is a row of the step, [n, H, 1, D], and a column of its own text, [1, H, n, D]: "
            "`swapaxes(0, 2)` goes there and back."
        ),
        "order": "The outputs are not in the order of the step's tokens.",
        "own_attention": "The attention function that was given was not used. The model passes its attention part, which may be anybody's.",
        "updated": "Each cache should take up exactly its own request's new tokens, once.",
    },
)

H, H_KV, D = 4, 2, 8


def _oracle(q, k, v, mask):
    return mx.fast.scaled_dot_product_attention(q, k, v, scale=0.3, mask=mask)


def _history(t, held, make):
    """Caches with so many tokens each, and the keys and values in them."""
    caches, pasts = [], []
    for i, n in enumerate(held):
        cache, past = make(), [mx.zeros((1, H_KV, 0, D))] * 2
        if n:
            past = [t.normal(f"{name} held by request {i}", 1, H_KV, n, D) for name in ("keys", "values")]
            cache.update_and_fetch(*past)
        caches.append(cache)
        pasts.append(past)
    return caches, pasts


def _attend(queries, keys, values, pasts, counts, *, mask="rectangle", only_new=False):
    """Request by request and by MLX's operations, with places to go wrong."""
    outs, start = [], 0
    for past, n in zip(pasts, counts, strict=True):
        q, k, v = (x[start : start + n].swapaxes(0, 2) for x in (queries, keys, values))
        if not only_new:
            k, v = (mx.concatenate(pair, axis=2) for pair in zip(past, (k, v), strict=True))
        S = k.shape[2]
        seen = {"rectangle": np.tri(n, S, S - n), "none": np.ones((n, S)), "square": np.tri(n, S)}[mask]
        outs.append(_oracle(q, k, v, mx.array(seen.astype(bool))).swapaxes(0, 2))
        start += n
    return mx.concatenate(outs)


def _step(answer, t, held, counts, make=KVCache):
    caches, pasts = _history(t, held, make)
    T = sum(counts)
    queries, keys, values = (
        t.normal(name, T, heads, 1, D) for name, heads in (("queries", H), ("keys", H_KV), ("values", H_KV))
    )
    layer = answer(caches, counts)
    positions = [held_ + i for held_, n in zip(held, counts, strict=True) for i in range(n)]
    offset = layer.offset
    t.true(
        isinstance(offset, mx.array) and offset.shape == (T,) and mx.issubdtype(offset.dtype, mx.integer),
        f"RaggedLayer(caches, {counts}).offset is {offset!r:.80}.\nWanted: an MLX array of {T} integers.",
        "offset_kind",
    )
    t.equal(
        f"RaggedLayer(caches that hold {held}, counts={counts}).offset", offset, positions,
        mistakes={"offset_restarts": [i for n in counts for i in range(n)]},
    )  # fmt: skip
    called = []

    def attention(queries, keys, values, *, scale, mask):
        called.append(queries.shape)
        return mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask=mask)

    given = layer.attend(queries, keys, values, scale=0.3, attention=attention)
    t.true(bool(called), "attend(...) did not call `attention`.", "own_attention")
    wanted = _attend(queries, keys, values, pasts, counts)
    one_cache = [mx.concatenate(part, axis=2) for part in zip(*pasts, strict=True)]

    def reordered(y):
        rows = np.array(wanted).reshape(T, -1)
        mine = np.array(y).reshape(T, -1) if isinstance(y, mx.array) and y.shape == wanted.shape else None
        return mine is not None and np.allclose(np.sort(mine, axis=0), np.sort(rows, axis=0), atol=1e-5)

    t.close(
        f"attend of a step of {counts} tokens, requests that hold {held}",
        given, wanted,
        mistakes={
            "axes": lambda y: isinstance(y, mx.array) and y.shape != wanted.shape and y.size == wanted.size,
            "no_mask": _attend(queries, keys, values, pasts, counts, mask="none"),
            "square": _attend(queries, keys, values, pasts, counts, mask="square"),
            "only_new": lambda y: any(
                _near(y, _attend(queries, keys, values, pasts, counts, mask=m, only_new=True)) for m in ("rectangle", "none")
            ),
            "order": reordered,
            "shared": lambda y: any(
                _near(y, _attend(queries, keys, values, [past], [T], mask=m))
                for past in (one_cache, pasts[0]) for m in ("rectangle", "none")
            ),
        },
    )  # fmt: skip
    after = [cache.offset for cache in caches]
    t.equal("tokens held afterwards", after, [a + n for a, n in zip(held, counts, strict=True)], mistakes={"updated": lambda y: True})


@ragged_layer.case("one request decodes: its token looks at five held and at itself")
def _(answer, t):
    _step(answer, t, [5], [1])


@ragged_layer.case("one prompt, its second chunk: 3 tokens after 4")
def _(answer, t):
    _step(answer, t, [4], [3])


@ragged_layer.case("two requests decode, with texts of different lengths")
def _(answer, t):
    _step(answer, t, [3, 6], [1, 1])


@ragged_layer.case("two decode, one prompt goes on, one begins")
def _(answer, t):
    _step(answer, t, [5, 2, 4, 0], [1, 1, 3, 4])


@ragged_layer.case("any step, with another cache")
def _(answer, t):
    for _ in range(8):
        n = int(t.rng.integers(1, 5))
        held = [int(x) for x in t.rng.integers(0, 9, size=n)]
        _step(answer, t, held, [int(x) for x in t.rng.integers(1, 6, size=n)], ConcatKVCache)


@ragged_layer.case("a small transformer: three texts in ragged steps say what each says alone")
def _(answer, t):
    model = tiny_transformer(KVCache)
    texts = [[int(i) for i in t.rng.integers(0, 61, size=n)] for n in (9, 4, 7)]
    alone = [model(mx.array([text]))[0] for text in texts]
    caches = [[KVCache() for _ in texts] for _ in model.blocks]
    read = [0, 0, 0]
    for wish in ([4, 1, 2], [1, 3, 2], [4, 0, 3]):
        work = [(i, n) for i, n in enumerate(wish) if n]
        tokens = [x for i, n in work for x in texts[i][read[i] : read[i] + n]]
        layers = [answer([layer[i] for i, _ in work], [n for _, n in work]) for layer in caches]
        logits = model(mx.array(tokens)[:, None], layers)[:, 0]  # [T, V]
        wanted = mx.concatenate([alone[i][read[i] : read[i] + n] for i, n in work])
        t.close(f"the logits of a step of {[n for _, n in work]} tokens", logits, wanted, atol=1e-4)
        for i, n in work:
            read[i] += n


def _near(y, other) -> bool:
    return isinstance(y, mx.array) and y.shape == other.shape and bool(mx.allclose(y, other, atol=1e-5).item())
