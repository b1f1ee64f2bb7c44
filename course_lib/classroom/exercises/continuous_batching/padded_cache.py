"""Position and mask of a left-padded batch."""

import mlx.core as mx
import numpy as np

from ....techniques.static_batching import LeftPaddedCache
from ...exercise import Exercise
from ...mismatch import plain
from ..kv_cache.tiny_transformer import tiny_transformer

padded_cache = Exercise(
    "continuous_batching.padded_cache",
    "Each row says what it says alone: positions and mask",
    name="LeftPaddedCache",
    reference=LeftPaddedCache,
    names={"mx": mx, "np": np},
    mistakes={
        "shared_offset": (
            "All rows stand at the same position: that of the column. A row's first real token stands at "
            "0, so its next column stands at `held` less its own padding."
        ),
        "offset_of_length": (
            "The padding is added. It comes before the text and delays it: subtract it from `held`."
        ),
        "offset_stuck": "The offset does not move on. It is the position of the next column: `held` less padding.",
        "offset_type": "`offset` is one position a row: an MLX array of integers, [B].",
        "sees_padding": (
            "The mask lets real tokens attend to padding. Beside `key <= query`, a key's column must be at "
            "least the row's padding."
        ),
        "sees_future": "Tokens see columns after their own. The mask must be causal, too: key column <= query column.",
        "hides_first": "The first real token is hidden. It stands in column `padding` itself: `>=`, not `>`.",
        "held_forgotten": (
            "The mask forgets the columns held already. The next L queries stand in columns held .. held + "
            "L - 1, and there are held + L keys."
        ),
        "mask_shape": (
            "The mask must be [B, 1, L, held + L]: a row, all heads alike, queries, keys. `[:, None]` adds the "
            "axis of the heads."
        ),
        "hides_itself": "Tokens do not see themselves. A key in the query's own column may be attended to: `<=`.",
    },
)

PADDING = [2, 0, 5, 1]
H_KV, D = 2, 4


def _fill(answer, t, padding, cuts):
    """A cache that has taken up columns in steps of `cuts`."""
    cache = answer(padding)
    for number, L in enumerate(cuts):
        new = [t.normal(f"{name} of step {number}", len(padding), H_KV, L, D) for name in ("keys", "values")]
        cache.update_and_fetch(*new)
    return cache


def _mask(padding, held, L, *, first=lambda pad: pad, causal=lambda key, query: key <= query):
    """By loops: the oracle."""
    out = np.zeros((len(padding), 1, L, held + L), bool)
    for row, pad in enumerate(padding):
        for i in range(L):
            for key in range(held + L):
                out[row, 0, i, key] = first(pad) <= key and causal(key, held + i)
    return out


def _compare_mask(t, padding, held, L, given):
    """Compare what real tokens see. What padding sees is nobody's business."""
    wanted = _mask(padding, held, L)
    what = f"make_mask({L}) with {held} columns held and padding {list(padding)}"
    if not isinstance(given, mx.array):
        all_see_all = wanted.all()
        t.true(
            all_see_all and given is None, f"{what} is {given!r:.60}.\nWanted: booleans {list(wanted.shape)}."
        )
        return
    shape, full = tuple(given.shape), wanted.shape
    fits = (
        len(shape) == 4
        and all(a in (1, b) for a, b in zip(shape, full, strict=True))
        and shape[-1] == full[-1]
    )
    named = "held_forgotten" if shape[-1:] == (L,) and held else "mask_shape"
    t.true(fits, f"{what} has shape {list(shape)}.\nWanted: {list(full)}.", named)
    t.true(
        given.dtype == mx.bool_, f"{what} is {given.dtype}.\nWanted: booleans, True where a query may attend."
    )
    seen = np.broadcast_to(np.array(given), full)
    real = np.array([[[held + i >= pad for i in range(L)]] for pad in padding])[..., None]  # [B, 1, L, 1]
    mistakes = {
        "sees_padding": _mask(padding, held, L, first=lambda pad: 0),
        "sees_future": _mask(padding, held, L, causal=lambda key, query: True),
        "hides_first": _mask(padding, held, L, first=lambda pad: pad + 1),
        "hides_itself": _mask(padding, held, L, causal=lambda key, query: key < query),
    }
    t.close(
        f"{what}, in the rows of real tokens,", mx.array(seen & real), mx.array(wanted & real),
        mistakes={name: mx.array(other & real) for name, other in mistakes.items()},
    )  # fmt: skip


@padded_cache.case("offset: a row's first real token stands at 0")
def _(answer, t):
    for cuts in ([], [6], [6, 1], [6, 1, 1, 3]):
        held = sum(cuts)
        cache = _fill(answer, t, PADDING, cuts)
        offset = cache.offset
        is_array = (
            isinstance(offset, mx.array) and offset.ndim == 1 and mx.issubdtype(offset.dtype, mx.integer)
        )
        mistakes = {"shared_offset": [held] * 4 if is_array else lambda o: o == held}
        t.equal(
            f"cache.offset with {held} columns held and padding {PADDING}", plain(offset),
            [held - pad for pad in PADDING],
            mistakes=mistakes | {
                "offset_of_length": [held + pad for pad in PADDING],
                "offset_stuck": lambda o: held and o in ([-pad for pad in PADDING], [0] * 4),
            },
        )  # fmt: skip
        t.true(
            is_array, f"cache.offset is {offset!r:.60}.\nWanted: an MLX array of 4 integers.", "offset_type"
        )


@padded_cache.case("the mask of a prompt: no padding, nothing that comes later")
def _(answer, t):
    _compare_mask(t, PADDING, 0, 6, answer(PADDING).make_mask(6))
    _compare_mask(t, [0, 0], 0, 3, answer([0, 0]).make_mask(3))


@padded_cache.case("the mask of further tokens, one and several")
def _(answer, t):
    for cuts, L in (([6], 1), ([6, 1], 1), ([6], 3), ([7, 1, 2], 2)):
        _compare_mask(t, PADDING, sum(cuts), L, _fill(answer, t, PADDING, cuts).make_mask(L))


@padded_cache.case("keys and values come back, all columns, and the offset moves on with them")
def _(answer, t):
    cache, held = answer([1, 0]), []
    for number, L in enumerate((4, 1, 2)):
        columns = sum(pair[0].shape[2] for pair in held)
        t.equal(f"cache.offset after {number} steps", plain(cache.offset), [columns - 1, columns])
        new = [t.normal(f"{name} of step {number}", 2, H_KV, L, D) for name in ("keys", "values")]
        held.append(new)
        given = cache.update_and_fetch(*new)
        for i, name in enumerate(("keys", "values")):
            t.close(
                f"{name} after {number + 1} steps",
                given[i],
                mx.concatenate([pair[i] for pair in held], axis=2),
            )


@padded_cache.case("in a transformer: each row's logits are those it has alone, prompt and three tokens more")
def _(answer, t):
    model = tiny_transformer(None)
    lengths = [5, 1, 8, 7]
    prompts = [t.rng.integers(1, 61, n).tolist() for n in lengths]
    more = t.rng.integers(1, 61, (4, 3))
    width = max(lengths)
    cache = [answer([width - n for n in lengths]) for _ in range(2)]
    columns = mx.array([[0] * (width - len(p)) + p for p in prompts])
    for step in range(4):
        logits = model(columns, cache, positions=-1)[:, 0]
        alone = [model(mx.array([[*p, *more[row, :step].tolist()]]))[0, -1] for row, p in enumerate(prompts)]
        t.close(f"logits of each row after {step} tokens more", logits, mx.stack(alone), atol=1e-4, rtol=1e-4)
        if step < 3:
            columns = mx.array(more[:, step : step + 1])
