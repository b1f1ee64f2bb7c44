"""One step of the online softmax."""

import mlx.core as mx
import numpy as np

from ....techniques import flash_attention as techniques
from ...exercise import Exercise
from .oracle import NAMES, narrow, same, softmax, wide

take_up = Exercise(
    "flash_attention.take_up",
    "The softmax in one pass",
    name="take_up",
    reference=techniques.take_up,
    names=NAMES,
    mistakes={
        "tile_largest": "`largest` is that of the new scores alone. A larger one may have come before: take the maximum with `carried.largest`.",
        "not_updated": "`largest` is still the old one. Return the new one: the next step measures by it.",
        "total_not_rescaled": "The old total was summed up relative to the old largest score. Multiply it by exp(old largest - new largest) before you add.",
        "values_not_rescaled": "The old weighted values belong to the old largest score. Multiply them by exp(old largest - new largest), as the total.",
        "upside_down": "The factor is upside down: what was summed up before becomes *smaller* when a larger score comes, so it is exp(old largest - new largest).",
        "divided": "The weighted values are divided already. Divide once, at the end: `result` does.",
        "nan": "There is a NaN: as long as nothing has been seen the largest score is -inf, and -inf - -inf is NaN. Subtract 0 instead of -inf there.",
    },
)


def carried_by_definition(scores: np.ndarray, values: np.ndarray):
    largest = scores.max(-1, keepdims=True)
    weights = np.exp(scores - np.where(np.isneginf(largest), 0, largest))
    return techniques.Carried(narrow(largest), narrow(weights.sum(-1, keepdims=True)), narrow(weights @ values))


def check_stream(answer, t, scores, values, pieces):
    s, v = wide(scores), wide(values)
    carried, at = techniques.nothing_yet(scores.shape[0], values.shape[1]), 0
    for n in pieces:
        before = carried
        part, some = scores[:, at : at + n], values[at : at + n]
        given = answer(carried, part, some)
        at += n
        wanted = carried_by_definition(s[:, :at], v[:at])
        largest, total, weighted = given
        what = f"after {at} of {s.shape[1]} keys: "
        tile = mx.max(part, axis=-1, keepdims=True)
        nan = {"nan": lambda y: isinstance(y, mx.array) and bool(mx.any(mx.isnan(y)).item())}
        moved = not np.array_equal(np.array(before.largest), np.array(wanted.largest))
        t.close(f"{what}largest", largest, wanted.largest, mistakes={**nan, "tile_largest": tile, **({"not_updated": before.largest} if moved else {})})
        with np.errstate(invalid="ignore"):
            factor = narrow(np.exp(np.nan_to_num(wide(before.largest) - wide(wanted.largest), nan=0, neginf=-np.inf)))
        new_total, new_weighted = wanted.total - before.total * factor, wanted.weighted - before.weighted * factor
        upside = mx.where(factor == 0, 0, 1 / factor)
        t.close(
            f"{what}total", total, wanted.total, rtol=1e-4,
            mistakes={**nan, "total_not_rescaled": before.total + new_total, "upside_down": before.total * upside + new_total},
        )  # fmt: skip
        divided = narrow(softmax(s[:, :at]) @ v[:at])
        t.close(
            f"{what}weighted", weighted, wanted.weighted, rtol=1e-4, atol=1e-4,
            mistakes={
                **nan, "values_not_rescaled": before.weighted + new_weighted,
                "upside_down": before.weighted * upside + new_weighted, "divided": divided,
            },
        )  # fmt: skip
        carried = techniques.Carried(largest, total, weighted)
    t.true(same(techniques.result(carried), narrow(softmax(s) @ v)), "The result over all keys is not that of the softmax.")


@take_up.case("the first tile")
def _(answer, t):
    check_stream(answer, t, t.normal("scores", 4, 8), t.normal("values", 8, 6), [8])


@take_up.case("a larger score comes later")
def _(answer, t):
    scores = t.watch("scores", mx.array([[0.0, 1.0, 3.0, 2.0], [1.0, 1.0, 2.0, 5.0]]))
    check_stream(answer, t, scores, t.normal("values", 4, 3), [2, 2])


@take_up.case("the largest score came first")
def _(answer, t):
    scores = t.watch("scores", mx.array([[5.0, 1.0, 3.0, 2.0], [4.0, 1.0, 2.0, 1.0]]))
    check_stream(answer, t, scores, t.normal("values", 4, 3), [2, 2])


@take_up.case("a stream of 300 keys in uneven pieces")
def _(answer, t):
    scores = t.normal("scores", 5, 300, scale=4)
    check_stream(answer, t, scores, t.normal("values", 300, 16), [1, 64, 7, 128, 100])


@take_up.case("tiles in which a query sees nothing")
def _(answer, t):
    scores = t.normal("scores", 3, 12)
    hidden = mx.array([[j < 4 if i == 0 else j >= 8 if i == 1 else j % 4 == 0 for j in range(12)] for i in range(3)])
    scores = t.watch("scores", mx.where(hidden, -mx.inf, scores))
    check_stream(answer, t, scores, t.normal("values", 12, 4), [4, 4, 4])


@take_up.case("scores of 10,000 and -10,000")
def _(answer, t):
    scores = t.watch("scores", mx.array([[-1e4, -1e4 + 2, 1e4, 1e4 - 3, -1e4, 0.0]]))
    check_stream(answer, t, scores, t.normal("values", 6, 4), [2, 2, 2])
