"""The whole thing: heads, masks, skipped tiles, in MLX's own convention."""

import mlx.core as mx
import numpy as np

from ....lab.memory import peak_memory
from ....techniques import flash_attention as techniques
from ...exercise import Exercise
from .oracle import NAMES, attend, band, heads_of, narrow, online_mistakes, wide

flash_attention = Exercise(
    "flash_attention.flash_attention",
    "Flash attention, fit for the model",
    name="flash_attention",
    reference=techniques.flash_attention,
    names=NAMES,
    uses=("flash_attention.take_up", "flash_attention.causal_tiles"),
    mistakes={
        "wrong_head": "Query head h reads key/value head h // (H / H_kv): neighbours share. With h % H_kv every H_kv-th would.",
        "first_head": "All query heads read the first key/value head.",
        "late": "The causal mask is off by one: a query sees the key behind its own.",
        "early": "The causal mask is off by one: a query does not see its own key.",
        "top_left": "With more keys than queries the queries are the newest: query l stands at position S - L + l, in each block and in each tile.",
        "no_mask": "The mask does not show: each query sees all keys.",
        "scale_twice": "The scale is applied twice.",
        "no_scale": "The scores are not multiplied by `scale`.",
        "last_keys": "The last keys are missing: S need not be a multiple of key_block.",
        "no_rescale": "What was carried is not corrected when a larger score comes: use `take_up`, which does.",
        "own_largest": "Each tile is weighted relative to its own largest score: carry on what `take_up` returns.",
        "not_carried": "Only the last tile of keys counts: carry on what `take_up` returns.",
        "not_skipped": "Tiles that no query of a block may see were read all the same: values behind the diagonal were poisoned with NaN, and came through. Skip these tiles.",
        "added_as_boolean": "A floating mask is added to the scores; a boolean one says where a query may attend.",
        "no_error": "More queries than keys with a causal mask, or an H that is no multiple of H_kv, is an error: raise ValueError, with a message.",
        "whole_matrix": "At some moment there was room for most of the matrix of scores. One tile at a time, and `mx.eval` each block's result.",
    },
)

SCALE = 0.2


def check_heads(answer, t, B, H, H_kv, L, S, D=64, *, mask=None, blocks=(16, 32), views=None):
    q, k, v = t.normal("queries", B, H, L, D), t.normal("keys", B, H_kv, S, D), t.normal("values", B, H_kv, S, D)
    a, b, c = wide(q), heads_of(wide(k), H), heads_of(wide(v), H)
    if views:
        q, k, v = views(q), views(k), views(v)
    G = H // H_kv
    kind, added = None, mask
    if isinstance(mask, str):
        kind, added = "causal", band(L, S)
    elif mask is not None:
        added = np.array(mask) if mask.dtype == mx.bool_ else wide(mask)

    def by(scale=SCALE, keys=b, values=c, mask=added):
        return narrow(attend(a, keys, values, scale, mask))

    mistakes = {"scale_twice": by(SCALE**2), "no_scale": by(1.0)}
    if G > 1 and H_kv > 1:
        other = [np.concatenate([wide(x)] * G, axis=1) for x in (k, v)]
        mistakes["wrong_head"] = by(keys=other[0], values=other[1])
    if H_kv > 1:
        mistakes["first_head"] = by(keys=b[:, :1].repeat(H, 1), values=c[:, :1].repeat(H, 1))
    if kind:
        mistakes |= {"late": by(mask=band(L, S, late=1)), "early": by(mask=band(L, S, late=-1)), "no_mask": by(mask=None)}
        if S > L:
            mistakes["top_left"] = by(mask=band(L, S, late=L - S))
        early = mistakes["early"]
        # The first query of all sees nothing then: zeros or NaN.
        mistakes["early"] = lambda y: isinstance(y, mx.array) and mx.allclose(y[:, :, 1:], early[:, :, 1:], atol=1e-4).item()
    elif mask is not None:
        mistakes["no_mask"] = by(mask=None)
        if mask.dtype != mx.bool_:
            mistakes["added_as_boolean"] = by(mask=added != 0)
    else:
        whole = S // blocks[1] * blocks[1]
        if 0 < whole < S:
            mistakes["last_keys"] = by(keys=b[:, :, :whole], values=c[:, :, :whole])
        mistakes |= online_mistakes(a, b, c, SCALE, blocks[1])
    shown = mask if kind or mask is None else f"{mask.dtype} {list(mask.shape)}".replace("mlx.core.", "")
    t.close(
        f"flash_attention of queries [{B}, {H}, {L}, {D}], keys [{B}, {H_kv}, {S}, {D}], mask={shown!r}, blocks of {blocks[0]} and {blocks[1]}",
        answer(q, k, v, scale=SCALE, mask=mask, query_block=blocks[0], key_block=blocks[1]), by(), atol=1e-4, rtol=1e-4,
        mistakes=mistakes,
    )  # fmt: skip


@flash_attention.case("every query sees every key")
def _(answer, t):
    check_heads(answer, t, 1, 2, 2, 20, 70)
    check_heads(answer, t, 2, 3, 3, 1, 64)


@flash_attention.case("heads that share keys and values")
def _(answer, t):
    for G in (3, 4, 8):
        check_heads(answer, t, 2, 2 * G, 2, 5, 40)
    check_heads(answer, t, 1, 4, 1, 5, 40)


@flash_attention.case("causal, as many keys as queries", errors={"no_mask": r"TypeError.*mask|AttributeError.*str"})
def _(answer, t):
    check_heads(answer, t, 1, 2, 2, 64, 64, mask="causal")
    check_heads(answer, t, 1, 2, 1, 50, 50, mask="causal", blocks=(8, 16))


@flash_attention.case("causal, more keys than queries")
def _(answer, t):
    check_heads(answer, t, 1, 2, 2, 32, 96, mask="causal")
    check_heads(answer, t, 1, 2, 1, 7, 75, mask="causal", blocks=(4, 16))
    check_heads(answer, t, 1, 2, 1, 1, 75, mask="causal")


@flash_attention.case("boolean and additive masks")
def _(answer, t):
    allowed = mx.array(t.rng.random((2, 1, 20, 70)) < 0.7) | (mx.arange(70) == 0)
    check_heads(answer, t, 2, 4, 2, 20, 70, mask=t.watch("mask", allowed))
    check_heads(answer, t, 2, 4, 2, 20, 70, mask=t.watch("mask", allowed[0, 0]))
    for hidden in (0.0, -mx.inf):
        check_heads(answer, t, 2, 4, 2, 20, 70, mask=t.watch("mask", mx.where(allowed[0, 0], t.normal("added", 20, 70, scale=2), hidden)))


@flash_attention.case("a query that sees nothing gives zeros")
def _(answer, t):
    allowed = np.ones((9, 70), bool)
    allowed[3] = False
    allowed[4, :40] = False
    check_heads(answer, t, 1, 2, 1, 9, 70, mask=t.watch("mask", mx.array(allowed)))


@flash_attention.case("head sizes 64, 80, 96, 128, and lengths up to 300")
def _(answer, t):
    for L, S, D in ((1, 300, 80), (33, 150, 96), (65, 129, 128), (300, 300, 64)):
        check_heads(answer, t, 1, 2, 1, L, S, D, mask="causal", blocks=(32, 64))


@flash_attention.case("scores of 10,000")
def _(answer, t):
    q = t.watch("queries", mx.ones((1, 1, 3, 1)))
    k = t.watch("keys", mx.array([[-1e4, 1e4, 1e4 - 1, 0.0, -1e4]]).reshape(1, 1, 5, 1))
    v = t.normal("values", 1, 1, 5, 1)
    wanted = narrow(attend(wide(q), wide(k), wide(v), 1.0))
    t.close("flash_attention with scores of 10,000", answer(q, k, v, scale=1.0, mask=None, query_block=2, key_block=2), wanted, atol=1e-3)


@flash_attention.case("views that are not contiguous")
def _(answer, t):
    check_heads(answer, t, 2, 2, 2, 20, 20, mask="causal", views=lambda x: mx.contiguous(x.swapaxes(1, 2)).swapaxes(1, 2))


@flash_attention.case("tiles that no query of a block sees are not read")
def _(answer, t):
    q, k, v = (t.normal(name, 1, 1, 64, 8) for name in ("queries", "keys", "values"))
    wanted = narrow(attend(wide(q), wide(k), wide(v), SCALE, band(64, 64)))[:, :, :48]
    poisoned = mx.where(mx.arange(64)[:, None] < 48, v, mx.nan)
    given = answer(q, k, poisoned, scale=SCALE, mask="causal", query_block=16, key_block=16)
    t.close(
        "the first 48 of 64 queries, blocks of 16, with NaN for values 48 to 63", given[:, :, :48], wanted, atol=1e-4,
        mistakes={"not_skipped": lambda y: bool(mx.any(mx.isnan(y)).item())},
    )  # fmt: skip


@flash_attention.case("there is never more than a few tiles' worth of scores")
def _(answer, t):
    q, k, v = (t.normal(name, 1, 1, 1024, 16) for name in ("queries", "keys", "values"))
    mx.eval(q, k, v)
    peak = peak_memory(lambda: answer(q, k, v, scale=0.25, mask="causal", query_block=32, key_block=32))
    t.true(
        peak <= 2**20, f"1,024 queries and keys in tiles of 32 x 32 took {peak / 2**20:.1f} MiB; all scores are 4 MiB, and a quarter of that is allowed.",
        "whole_matrix",
    )  # fmt: skip


@flash_attention.case("what does not fit is an error")
def _(answer, t):
    q, k = t.normal("queries", 1, 4, 9, 8), t.normal("keys", 1, 2, 8, 8)
    t.raises(ValueError, lambda: answer(q, k, k, scale=1.0, mask="causal"), "9 queries and 8 keys with a causal mask", mistake="no_error")
    k = t.normal("keys", 1, 3, 9, 8)
    t.raises(ValueError, lambda: answer(q, k, k, scale=1.0), "4 query heads and 3 key/value heads", mistake="no_error")
