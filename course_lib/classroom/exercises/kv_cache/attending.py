"""The mask of new tokens, and attention to all keys."""

import math

import mlx.core as mx
import numpy as np

from ....techniques import attention as reference
from ...exercise import Exercise

NAMES = {"mx": mx, "np": np}

causal_mask = Exercise(
    "kv_cache.causal_mask",
    "The mask of L new tokens against S keys",
    name="causal_mask",
    reference=reference.causal_mask,
    names=NAMES,
    mistakes={
        "strict": "A token does not see itself. Compare with `<=`: a token may attend to its own key.",
        "future": (
            "A token sees the one after it, which it is about to predict. The newest query sees all "
            "keys; each earlier one sees one key less."
        ),
        "no_offset": (
            "The triangle begins at the first key, as if the queries were the *first* L tokens. They are "
            "the last: query i stands at position S - L + i."
        ),
        "inverted": "The mask is the wrong way round: True means that the query *may* attend.",
        "not_boolean": "The values are numbers. Return booleans, as a comparison gives them.",
        "transposed": "The mask has a row for each key. It needs a row for each query: [L, S].",
    },
)


def _by_position(L, S, sees):
    """The mask one entry at a time; `sees(query, key)` compares positions."""
    return mx.array(np.array([[sees(S - L + i, j) for j in range(S)] for i in range(L)], dtype=bool))


def _mask_mistakes(L, S):
    wanted = _by_position(L, S, lambda q, k: k <= q)
    return {
        "strict": _by_position(L, S, lambda q, k: k < q),
        "future": _by_position(L, S, lambda q, k: k <= q + 1),
        "no_offset": _by_position(L, S, lambda q, k: k <= q - (S - L)),
        "inverted": ~wanted,
        "not_boolean": lambda y: isinstance(y, mx.array) and y.dtype != mx.bool_,
        "transposed": lambda y: isinstance(y, mx.array) and y.shape == (S, L) != (L, S),
    }


def _mask_case(answer, t, L, S):
    wanted = _by_position(L, S, lambda q, k: k <= q)
    t.close(f"causal_mask({L}, {S})", answer(L, S), wanted, mistakes=_mask_mistakes(L, S))


@causal_mask.case("three tokens, nothing cached: the lower triangle")
def _(answer, t):
    _mask_case(answer, t, 3, 3)


@causal_mask.case("two new tokens after three cached ones: 2 rows, 5 columns")
def _(answer, t):
    _mask_case(answer, t, 2, 5)


@causal_mask.case("one new token sees everything")
def _(answer, t):
    _mask_case(answer, t, 1, 7)


@causal_mask.case("many lengths")
def _(answer, t):
    for _ in range(20):
        S = int(t.rng.integers(1, 40))
        _mask_case(answer, t, int(t.rng.integers(1, S + 1)), S)


@causal_mask.case("more queries than keys, or no query, is an error")
def _(answer, t):
    t.raises(ValueError, lambda: answer(4, 3), "causal_mask(4, 3)")
    t.raises(ValueError, lambda: answer(0, 3), "causal_mask(0, 3)")


attention = Exercise(
    "kv_cache.attention",
    "Attention with fewer key/value heads than query heads",
    name="attention",
    reference=reference.attention,
    names=NAMES,
    uses=("kv_cache.causal_mask",),
    mistakes={
        "wrong_heads": (
            "Query heads read the wrong key/value heads. With 4 query heads and 2 key/value heads the "
            "pairs are 0-0, 1-0, 2-1, 3-1: query head h reads `h // (H // H_kv)`. `mx.repeat` repeats "
            "neighbours, `mx.tile` repeats the whole."
        ),
        "swapped": (
            "Keys and values have changed places: queries are compared with the *keys*, and the *values* "
            "are added up."
        ),
        "scale_missing": "The scores are not scaled: multiply them by `scale` before the softmax.",
        "scale_own": "You scale by 1 / sqrt(D) of your own. Use the argument `scale`, and it alone.",
        "softmax_axis": (
            "The softmax runs over the queries. Each query's weights over the S keys sum to 1: `axis=-1`."
        ),
        "mask_ignored": (
            'The mask has no effect. `mask="causal"` asks for `causal_mask(L, S)`; an array is used as it is.'
        ),
        "mask_times": (
            "A score of 0 is not a weight of 0: exp(0) is 1. Put -inf where the mask is False, "
            "`mx.where(mask, scores, -mx.inf)`, before the softmax."
        ),
        "mask_after": (
            "The mask comes after the softmax, so the weights that are left do not sum to 1. Mask the "
            "scores instead."
        ),
        "mask_from_start": (
            '"causal" is aligned with the first key. The L queries are the *newest* of the S tokens: '
            "`causal_mask(L, S)`."
        ),
        "overflow": (
            "exp of a large score overflows. `mx.softmax` subtracts the row's maximum first; if you "
            "write it yourself, do so too."
        ),
        "wide_result": "The numbers are right, but the dtype is not the queries'. Cast back at the end.",
    },
)


def _oracle(q, k, v, scale, mask=None):
    return mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask=mask)


def _spelled_out(q, k, v, scale, mask=None, *, heads=mx.repeat, axis=-1, hide=None):
    """Attention in the plainest operations, with a place to go wrong in each."""
    G = q.shape[1] // k.shape[1]
    k, v = (heads(x, G, axis=1) for x in (k, v))
    scores = (q * scale) @ k.swapaxes(-1, -2)
    if mask is not None:
        scores = (hide or (lambda s, m: mx.where(m, s, -mx.inf)))(scores, mask)
    return mx.softmax(scores, axis=axis) @ v


def _tile(x, times, axis):
    return mx.concatenate([x] * times, axis=axis)


def _inputs(t, B, H, H_kv, L, S, D, **kind):
    return (
        t.normal("queries", B, H, L, D, **kind),
        t.normal("keys", B, H_kv, S, D, **kind),
        t.normal("values", B, H_kv, S, D, **kind),
    )


@attention.case("one query you can follow by hand: weights 3/4 and 1/4")
def _(answer, t):
    q = t.watch("queries", mx.array([[[[math.log(3.0), 0.0]]]]))
    k = t.watch("keys", mx.array([[[[1.0, 0.0], [0.0, 1.0]]]]))
    v = t.watch("values", mx.array([[[[4.0, 0.0], [0.0, 8.0]]]]))
    t.close(
        "attention(queries, keys, values, scale=1.0, mask=None)",
        answer(q, k, v, scale=1.0, mask=None),
        mx.array([[[[3.0, 2.0]]]]),
        mistakes={
            "swapped": _oracle(q, v, k, 1.0),
            "scale_own": _oracle(q, k, v, 2**-0.5),
            "softmax_axis": _spelled_out(q, k, v, 1.0, axis=-2),
        },
    )


@attention.case("one new token, four query heads on two key/value heads")
def _(answer, t):
    q, k, v = _inputs(t, 2, 4, 2, 1, 6, 8)
    t.close(
        "attention(queries, keys, values, scale=0.35, mask=None)",
        answer(q, k, v, scale=0.35, mask=None),
        _oracle(q, k, v, 0.35),
        mistakes={
            "wrong_heads": _spelled_out(q, k, v, 0.35, heads=_tile),
            "swapped": _oracle(q, v, k, 0.35),
            "scale_missing": _oracle(q, k, v, 1.0),
            "scale_own": lambda y: (
                _near(y, _oracle(q, k, v, 0.35 * 8**-0.5)) or _near(y, _oracle(q, k, v, 8**-0.5))
            ),
            "softmax_axis": _spelled_out(q, k, v, 0.35, axis=-2),
        },
    )


def _mask_values(q, k, v, scale, mask):
    """What the known mistakes with a boolean mask [L, S] give."""
    weights = _spelled_out(q, k, mx.eye(k.shape[2])[None, None] + mx.zeros((*k.shape[:2], 1, 1)), scale)
    values = mx.repeat(v, q.shape[1] // k.shape[1], axis=1)
    return {
        "mask_ignored": _oracle(q, k, v, scale),
        "mask_times": _spelled_out(q, k, v, scale, mask, hide=lambda s, m: s * m),
        "mask_after": (weights * mask) @ values,
    }


@attention.case('two new tokens after five cached ones, mask="causal"')
def _(answer, t):
    q, k, v = _inputs(t, 1, 6, 2, 2, 7, 8)
    wanted = _by_position(2, 7, lambda query, key: key <= query)
    from_start = _by_position(2, 7, lambda query, key: key <= query - 5)
    t.close(
        'attention(queries, keys, values, scale=0.35, mask="causal")',
        answer(q, k, v, scale=0.35, mask="causal"),
        _oracle(q, k, v, 0.35, wanted),
        mistakes={
            **_mask_values(q, k, v, 0.35, wanted),
            "mask_from_start": _oracle(q, k, v, 0.35, from_start),
            "wrong_heads": _spelled_out(q, k, v, 0.35, wanted, heads=_tile),
        },
    )


@attention.case("a boolean array [L, S] as the mask")
def _(answer, t):
    q, k, v = _inputs(t, 2, 4, 4, 5, 9, 8)
    allowed = t.rng.random((5, 9)) < 0.5
    allowed[:, 3] = True  # no query may be left without a key
    mask = t.watch("mask", mx.array(allowed))
    t.close(
        "attention(queries, keys, values, scale=0.35, mask=mask)",
        answer(q, k, v, scale=0.35, mask=mask),
        _oracle(q, k, v, 0.35, mask),
        mistakes=_mask_values(q, k, v, 0.35, mask),
    )


@attention.case("scores in the hundreds")
def _(answer, t):
    q, k, v = _inputs(t, 1, 2, 2, 3, 8, 16, scale=8.0)
    t.close(
        "attention(queries, keys, values, scale=1.0, mask=None)",
        answer(q, k, v, scale=1.0, mask=None),
        _oracle(q, k, v, 1.0),
        mistakes={"overflow": lambda y: isinstance(y, mx.array) and bool(mx.isnan(y).any())},
        atol=1e-4,
    )


@attention.case("many shapes: heads, lengths and head sizes")
def _(answer, t):
    for H, H_kv in ((1, 1), (3, 1), (9, 3), (8, 2), (4, 4)):
        S = int(t.rng.integers(2, 50))
        L = int(t.rng.integers(1, S + 1))
        D = int(t.rng.choice([4, 16, 64]))
        q, k, v = _inputs(t, 2, H, H_kv, L, S, D)
        mask = _by_position(L, S, lambda query, key: key <= query)
        t.close(
            f'attention(queries {list(q.shape)}, keys {list(k.shape)}, ..., mask="causal")',
            answer(q, k, v, scale=D**-0.5, mask="causal"),
            _oracle(q, k, v, D**-0.5, mask),
            mistakes={"wrong_heads": _spelled_out(q, k, v, D**-0.5, mask, heads=_tile)},
        )


@attention.case("float16 in, float16 out")
def _(answer, t):
    q, k, v = _inputs(t, 1, 4, 2, 3, 12, 16, dtype=mx.float16)
    wide = [x.astype(mx.float32) for x in (q, k, v)]
    t.close(
        'attention(queries, keys, values, scale=0.25, mask="causal"), all float16',
        answer(q, k, v, scale=0.25, mask="causal"),
        _oracle(*wide, 0.25, _by_position(3, 12, lambda query, key: key <= query)).astype(mx.float16),
        mistakes={"wide_result": lambda y: isinstance(y, mx.array) and y.dtype == mx.float32},
    )


@attention.case("heads that cannot be shared evenly are an error")
def _(answer, t):
    q, k, v = _inputs(t, 1, 4, 3, 1, 5, 8)
    t.raises(
        ValueError,
        lambda: answer(q, k, v, scale=0.35, mask=None),
        "attention with 4 query heads and 3 key/value heads",
    )


def _near(y, other) -> bool:
    return (
        isinstance(y, mx.array) and y.shape == other.shape and bool(mx.allclose(y, other, atol=1e-5).item())
    )
