"""Prompts of different lengths in one tensor."""

import mlx.core as mx
import numpy as np

from ....techniques import static_batching as reference
from ...exercise import Exercise
from ...mismatch import plain

NAMES = {"mx": mx, "np": np}

left_pad = Exercise(
    "continuous_batching.left_pad",
    "Prompts of different lengths in one tensor",
    name="left_pad",
    reference=reference.left_pad,
    names=NAMES,
    mistakes={
        "right": (
            "The padding stands on the right. The last column chooses the next token, for every row: put "
            "the padding first, the prompt after it."
        ),
        "cut": "Long prompts are cut off. The longest one decides the width: `max`, not `min`.",
        "lengths": (
            "The second value holds the lengths of the prompts. Wanted is what is missing to the longest, "
            "L - len(prompt)."
        ),
        "pad_token": "Another id than `pad_token` fills up the rows.",
        "dtype": "Token ids are integers: `mx.array(rows)` of a list of lists of ints is int32.",
        "grows_prompts": (
            "The caller's lists have changed. `+=`, `insert` and `extend` change the list in place: build a "
            "new one, `[pad_token] * n + list(prompt)`."
        ),
        "one_too_many": "Every row has padding, the longest one too. It needs none: L is its length.",
    },
)


def _pad(prompts, pad, L=None, right=False):
    L = L or max(map(len, prompts))
    rows = [
        list(p)[:L] + [pad] * (L - len(p)) if right else [pad] * (L - len(p)) + list(p)[:L] for p in prompts
    ]
    return np.array(rows)


def _check(answer, t, prompts, pad):
    before = [list(p) for p in prompts]
    given = answer(prompts, pad)
    t.equal(
        "the prompts, afterwards,",
        [list(p) for p in prompts],
        before,
        mistakes={"grows_prompts": lambda p: True},
    )
    pair = isinstance(given, (tuple, list)) and len(given) == 2
    t.true(pair, f"left_pad(prompts, {pad}) is {given!r:.80}.\nWanted: a pair, the ids and the padding.")
    ids, padding = given
    call = f"left_pad({before}, {pad})"
    if isinstance(ids, mx.array):
        t.true(
            mx.issubdtype(ids.dtype, mx.integer),
            f"The ids of {call} are {ids.dtype}.\nWanted: integers.",
            "dtype",
        )
        ids = ids.astype(mx.int32)
    longest = max(map(len, prompts))
    t.close(
        f"the ids of {call}", ids, mx.array(_pad(before, pad).astype(np.int32)),
        mistakes={
            "right": _pad(before, pad, right=True),
            "cut": _same_as(lambda: _cut(before)),
            "pad_token": lambda y: _is(y, len(before), longest) and _differs_in_padding(y, before),
            "one_too_many": lambda y: _is(y, len(before), longest + 1),
        },
    )  # fmt: skip
    t.equal(
        f"the padding of {call}", plain(padding), [longest - len(p) for p in before],
        mistakes={"lengths": [len(p) for p in before]},
    )  # fmt: skip


def _cut(prompts):
    """What is left if the shortest prompt decides the width: the beginnings, or the ends."""
    least = min(map(len, prompts))
    return [[p[:least] for p in prompts], [p[-least:] for p in prompts]]


def _same_as(choices):
    return lambda y: isinstance(y, mx.array) and y.tolist() in choices()


def _is(y, *shape):
    return isinstance(y, mx.array) and tuple(y.shape) == shape


def _differs_in_padding(y, prompts):
    return all(row[len(row) - len(p) :] == p for row, p in zip(y.tolist(), prompts, strict=True))


@left_pad.case("two prompts, three tokens and one")
def _(answer, t):
    _check(answer, t, [[5, 6, 7], [8]], 0)


@left_pad.case("a prompt alone, and prompts of one length: no padding")
def _(answer, t):
    _check(answer, t, [[3, 1, 4]], 0)
    _check(answer, t, [[1, 2], [3, 4], [5, 6]], 9)


@left_pad.case("another pad token, which may also be a prompt's")
def _(answer, t):
    _check(answer, t, [[2, 2], [7, 2, 2, 9], [1]], 2)


@left_pad.case("prompts may be tuples")
def _(answer, t):
    _check(answer, t, [(5, 6), (7, 8, 9)], 0)


@left_pad.case("random prompts")
def _(answer, t):
    for _ in range(10):
        count = int(t.rng.integers(1, 6))
        prompts = [t.rng.integers(1, 50, int(t.rng.integers(1, 9))).tolist() for _ in range(count)]
        _check(answer, t, prompts, 0)


@left_pad.case("no prompts, or an empty one, is an error")
def _(answer, t):
    t.raises(ValueError, lambda: answer([], 0), "left_pad([], 0)")
    t.raises(ValueError, lambda: answer([[1], []], 0), "left_pad([[1], []], 0)")
