"""The budget for a latency goal, from measured steps. Judged by what it brings, not by how it was found."""

import numpy as np

from ....techniques import chunked_prefill as reference
from ...exercise import Exercise
from .layer import NAMES

choose_budget = Exercise(
    "chunked_prefill.choose_budget",
    "A budget for a latency goal",
    name="choose_budget",
    reference=reference.choose_budget,
    names=NAMES,
    stretch=True,
    mistakes={
        "proportional": (
            "The time of a step is taken to be proportional to its tokens. A step also costs something that does not depend on them: "
            "the weights are read once, for one token or a hundred."
        ),
        "too_slow": "Steps of this size take longer than the goal.",
        "too_small": "A larger budget would keep to the goal as well, and prompts would be read sooner.",
        "outlier": "One slow moment of the machine decides. Take the median of each size's steps, not the mean or the maximum.",
        "line": (
            "The time is not a straight line: small steps all take about as long (the weights must be read anyway), large ones rise. "
            "Look between the two measured sizes where the goal lies."
        ),
        "unknown": "Nothing larger than the largest measured step is known to be fast enough.",
    },
)

SIZES = (8, 16, 32, 64, 128, 256)


def _judge(answer, t, cost, goal, *, slow=(), mistake=None):
    """`cost(n)` is the true time of n tokens; three samples near it, one far off for the sizes in `slow`."""
    samples = {
        n: [cost(n) * f for f in (0.999, 1.0, 1.001)] + [cost(n) * (30.0 if n in slow else 1.0)] for n in SIZES
    }
    given = answer(samples, goal)
    what = f"choose_budget({{8: ..., 16: ..., ..., 256: ...}}, goal={goal * 1e3:g} ms)"
    whole = type(given) is int or isinstance(given, np.integer)
    t.true(whole, f"{what} is {given!r:.60}.\nWanted: a whole number of tokens.")
    words = f"{what} is {given}."
    best = max((n for n in range(SIZES[0], SIZES[-1] + 1) if cost(n) <= goal), default=0)
    t.true(given <= SIZES[-1], f"{words} The largest measured step has {SIZES[-1]} tokens.", "unknown")
    slowest = max(cost(n) / n for n in SIZES)
    rates = [goal / (cost(n) / n) for n in SIZES] + [goal / np.mean([cost(n) / n for n in SIZES]), goal / slowest]
    proportional = given not in SIZES and any(abs(given - rate) <= max(1, 0.02 * rate) for rate in rates)
    if cost(given) > goal * 1.02:
        t.true(False, f"{words} Such a step takes {cost(given) * 1e3:.1f} ms.", "proportional" if proportional else mistake or "too_slow")
    if given < best * 0.95:
        t.true(
            False, f"{words} A step of {best} tokens takes {cost(best) * 1e3:.1f} ms.",
            "outlier" if slow else "proportional" if proportional else mistake or "too_small",
        )  # fmt: skip


def _line(n):
    return 0.020 + 0.0015 * n


@choose_budget.case("steps of 20 ms and 1.5 ms a token: 90 ms are enough for 46 tokens")
def _(answer, t):
    _judge(answer, t, _line, 0.09)


@choose_budget.case("another goal, 300 ms")
def _(answer, t):
    _judge(answer, t, _line, 0.3)


@choose_budget.case("one slow moment while it was measured")
def _(answer, t):
    _judge(answer, t, _line, 0.1, slow=(32, 64))


@choose_budget.case("small steps all take as long: the time is no straight line")
def _(answer, t):
    def knee(n):
        return 0.05 if n <= 64 else 0.05 + 0.002 * (n - 64)

    _judge(answer, t, knee, 0.12, mistake="line")
    _judge(answer, t, knee, 0.3, mistake="line")


@choose_budget.case("a goal that everything measured keeps: the largest measured step")
def _(answer, t):
    _judge(answer, t, _line, 5.0)


@choose_budget.case("a goal that nothing keeps, or nothing measured, is an error")
def _(answer, t):
    t.raises(ValueError, lambda: answer({8: [0.2], 64: [0.4]}, 0.1), "choose_budget of steps that take at least 200 ms, with a goal of 100 ms,")
    t.raises(ValueError, lambda: answer({}, 0.1), "choose_budget of nothing measured")
