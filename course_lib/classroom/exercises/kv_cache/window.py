"""The stretch exercise: a cache of bounded size."""

import mlx.core as mx
import numpy as np

from ....techniques.sliding_window import SlidingWindowCache
from ...exercise import Exercise

NAMES = {"mx": mx, "np": np}

sliding_window = Exercise(
    "kv_cache.sliding_window",
    "A sliding window with attention sinks",
    name="SlidingWindowCache",
    reference=SlidingWindowCache,
    names=NAMES,
    stretch=True,
    mistakes={
        "sinks_lost": (
            "The first `sinks` tokens have left the window and are gone. They stay for ever: cut the "
            "tokens between them and the newest ones."
        ),
        "too_long": (
            "A token sees one more than `window` tokens (or all of them): itself and the window - 1 "
            "before it, and the sinks."
        ),
        "too_short": (
            "A token sees fewer than `window` tokens: itself and the window - 1 before it, and the sinks."
        ),
        "offset_stuck": (
            "`offset` counts the tokens *seen*, not those held: it is the position of the next one, and "
            "grows without bound."
        ),
        "mask_missing": (
            "When several tokens come at once, each has a window of its own: `make_mask(L)` must say "
            "which of the returned keys each may see."
        ),
        "cut_early": (
            "When several tokens come at once, the first of them still sees what the last does not. Cut "
            "after the update, for the next one: return everything held and everything new."
        ),
        "unbounded": (
            "The cache grows with the text. Between updates keep no more than the sinks and `window` tokens."
        ),
        "nbytes": "`nbytes` is less than what must be held: the sinks and window - 1 tokens, keys *and* values.",
    },
)

D, SCALE = 6, 0.4


def _allowed(queries, keys, window, sinks):
    """Which positions each position sees, [queries, keys]."""
    p, j = np.array(queries)[:, None], np.array(keys)[None]
    return (j <= p) & ((j < sinks) | (j > p - window))


def _read(answer, t, window, sinks, cuts):
    """Attend to what the cache returns, step by step, and compare with attention to the whole text."""
    S = sum(cuts)
    q, k, v = (t.normal(name, 1, 2, S, D) for name in ("queries", "keys", "values"))
    cache, at = answer(window=window, sinks=sinks), 0

    def seen(start, L, window=window, sinks=sinks, causal_only=False):
        allowed = _allowed(range(start, start + L), range(S), 10**6 if causal_only else window, sinks)
        return mx.fast.scaled_dot_product_attention(
            q[:, :, start : start + L], k, v, scale=SCALE, mask=mx.array(allowed)
        )

    for L in cuts:
        part = slice(at, at + L)
        mask = cache.make_mask(L)
        keys, values = cache.update_and_fetch(k[:, :, part], v[:, :, part])
        shapes = f"{L} tokens after {at}: {keys.shape[2]} keys come back, and the mask is {_shape(mask)}"
        fits = not isinstance(mask, mx.array) or tuple(mask.shape[-2:]) == (L, keys.shape[2])
        t.true(fits, f"{shapes}.\nWanted: a mask of [{L}, {keys.shape[2]}].", "cut_early" if L > 1 else None)
        out = mx.fast.scaled_dot_product_attention(
            q[:, :, part], keys, values, scale=SCALE, mask=_usable(mask)
        )
        causal = mask is None or isinstance(mask, str)
        t.close(
            f"attention of {L} tokens after {at}, window {window}, {sinks} sinks", out, seen(at, L),
            mistakes={
                # Only causal: cannot be right for several tokens once the text outgrows the window.
                "mask_missing": lambda y: L > 1 and causal,
                "sinks_lost": seen(at, L, sinks=0),
                "too_long": lambda y: any(_near(y, seen(at, L, window=w)) for w in (window + 1, 10**6)),
                "too_short": lambda y: window > 1 and _near(y, seen(at, L, window=window - 1)),
                "cut_early": lambda y: L > 1 and keys.shape[2] < min(at, sinks + window - 1) + L,
            },
        )  # fmt: skip
        at += L
        t.equal("cache.offset", cache.offset, at, mistakes={"offset_stuck": lambda n: n < at})
    return cache


def _shape(mask):
    return list(mask.shape) if isinstance(mask, mx.array) else repr(mask)


def _usable(mask):
    return mask if isinstance(mask, mx.array) or mask == "causal" else None


@sliding_window.case("a text shorter than the window")
def _(answer, t):
    _read(answer, t, 8, 2, [1] * 6)


@sliding_window.case("one token at a time, past the window: the oldest leave, the sinks stay")
def _(answer, t):
    _read(answer, t, 5, 2, [1] * 16)


@sliding_window.case("no sinks: a plain window; a window of 1: itself and the sinks")
def _(answer, t):
    _read(answer, t, 4, 0, [1] * 10)
    _read(answer, t, 1, 3, [1] * 8)


@sliding_window.case("a prompt longer than the window, then one token at a time")
def _(answer, t):
    _read(answer, t, 5, 2, [14, 1, 1, 1, 1, 1, 1])


@sliding_window.case("steps of many lengths, windows and sinks")
def _(answer, t):
    for _ in range(12):
        cuts = [int(n) for n in t.rng.choice([1, 1, 1, 2, 3, 6, 11], size=10)]
        _read(answer, t, int(t.rng.integers(1, 9)), int(t.rng.integers(0, 4)), cuts)


@sliding_window.case("memory stays bounded; four sinks unless told otherwise")
def _(answer, t):
    cache = answer(window=8)
    per_token = 2 * 2 * D * 4
    t.equal("cache.nbytes of a new cache", cache.nbytes, 0)
    for _ in range(60):
        cache.make_mask(1)
        cache.update_and_fetch(mx.zeros((1, 2, 1, D)), mx.zeros((1, 2, 1, D)))
    held = f"After 60 tokens, nbytes is that of {cache.nbytes / per_token:g} tokens, keys and values."
    t.true(cache.nbytes <= 12 * per_token, f"{held}\nWanted: at most 12.", "unbounded")
    # The next token needs the sinks and window - 1 others.
    t.true(cache.nbytes >= 11 * per_token, f"{held}\nWanted: at least 11.", "nbytes")


def _near(y, other) -> bool:
    return (
        isinstance(y, mx.array) and y.shape == other.shape and bool(mx.allclose(y, other, atol=1e-5).item())
    )
