"""The softmax that survives large scores."""

import mlx.core as mx
import numpy as np

from ....techniques import flash_attention as techniques
from ...exercise import Exercise
from .oracle import NAMES, narrow, softmax, wide

stable_softmax = Exercise(
    "flash_attention.stable_softmax",
    "A softmax for scores of any size",
    name="stable_softmax",
    reference=techniques.stable_softmax,
    names=NAMES,
    mistakes={
        "overflow": "The exponential of a large score is infinity, and infinity / infinity is NaN. Subtract the row's largest score first.",
        "underflow": "All exponentials of a row with only very low scores are 0, and 0 / 0 is NaN. Subtract the row's largest score, whatever its sign.",
        "one_largest": "One largest score was taken for all rows. Rows far below it lose everything: each row has its own, along the last axis.",
        "nothing_seen": "A row of -inf gives NaN: its largest is -inf, and -inf - -inf is NaN. It sees nothing, so its weights are to be zeros.",
        "evenly": "A row of -inf gets weights, although it sees nothing: they are to be zeros.",
        "wrong_axis": "The weights of one row are to sum to 1: sum along the last axis.",
    },
)


def has_nan(y):
    return isinstance(y, mx.array) and bool(mx.any(mx.isnan(y)).item())


@stable_softmax.case("small scores")
def _(answer, t):
    x = t.normal("scores", 3, 5)
    t.close("stable_softmax(scores)", answer(x), narrow(softmax(wide(x))), mistakes={"wrong_axis": mx.softmax(x, axis=0)})


@stable_softmax.case("scores of 10,000 and of -10,000")
def _(answer, t):
    for low, mistake in ((1e4, "overflow"), (-1e4, "underflow")):
        x = t.watch("scores", mx.array([[low, low + 1.0, low + 2.0]]))
        t.close(f"stable_softmax({x[0].tolist()})", answer(x), narrow(softmax(wide(x))), mistakes={mistake: has_nan})


@stable_softmax.case("rows of very different size")
def _(answer, t):
    x = t.watch("scores", mx.array([[0.0, 1.0], [500.0, 501.0], [-500.0, -501.0]]))
    t.close("stable_softmax(scores)", answer(x), narrow(softmax(wide(x))), mistakes={"one_largest": lambda y: has_nan(y) or bool(mx.any(mx.sum(y, axis=-1) == 0).item())})


@stable_softmax.case("keys that are not seen, in scores [B, H, L, S]")
def _(answer, t):
    x = t.normal("scores", 2, 3, 4, 300)
    x = t.watch("scores", mx.where(mx.arange(300) < 17, x, -mx.inf))
    t.close("stable_softmax(scores)", answer(x), narrow(softmax(wide(x))))


@stable_softmax.case("a row that sees nothing has weights of zero")
def _(answer, t):
    x = t.watch("scores", mx.array([[0.0, -np.inf], [-np.inf, -np.inf]]))
    evenly = lambda y: isinstance(y, mx.array) and y.shape == (2, 2) and mx.sum(y[1]).item() > 0  # noqa: E731
    t.close("stable_softmax([[0, -inf], [-inf, -inf]])", answer(x), narrow(softmax(wide(x))), mistakes={"nothing_seen": has_nan, "evenly": evenly})
