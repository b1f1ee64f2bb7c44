"""Goodput: requests that were served in time."""

from dataclasses import dataclass

import numpy as np

from ....techniques.goodput import goodput as reference
from ...exercise import Exercise

goodput = Exercise(
    "build_your_own_vllm.goodput",
    "Goodput: requests served in time",
    name="goodput",
    reference=reference,
    names={"np": np},
    mistakes={
        "throughput": "All requests were counted. Only those count whose first token and whose pace were in time.",
        "either": "One promise kept is not enough: the first token *and* the pace.",
        "since_scheduled": "The first token's time counts from the arrival, waiting included: `token_times[0] - arrival_time`.",
        "all_tokens": "The pace is a mean over the gaps *after* the first token; n tokens have n - 1 gaps.",
        "worst_gap": "The pace is the mean gap, not the longest: (last - first) / (n - 1).",
        "with_first": "The time to the first token is no part of the pace: from the first token to the last.",
        "empty": "A request without tokens kept no promise, and has no first token to look at.",
        "single": "One token keeps the pace by itself: there is no gap. Mind the division by n - 1 = 0.",
        "from_zero": "The time runs from the first arrival to the last end. Clocks do not begin at 0.",
        "busy_time": "The time runs from the first arrival to the last end, of *all* requests, whether they were in time or not.",
        "mean_latency": "Requests overlap: divide by the time from the first arrival to the last end, not by the sum of their times.",
        "strictly": "A request that takes exactly the goal is in time: `<=`.",
    },
)


@dataclass
class _Request:
    arrival_time: float
    scheduled_time: float
    token_times: list
    finish_time: float


def _requests(*specs, start=0.0):
    """Each of (arrival, wait before it is scheduled, time to the first token, gaps)."""
    made = []
    for arrival, wait, first, gaps in specs:
        times = [] if first is None else np.cumsum([start + arrival + first, *gaps]).tolist()
        end = times[-1] if times else start + arrival + wait
        made.append(_Request(start + arrival, start + arrival + wait, times, end))
    return made


def _rate(requests, in_time, seconds=None):
    ends = [r.finish_time for r in requests]
    begins = [r.arrival_time for r in requests]
    return sum(map(bool, map(in_time, requests))) / (max(ends) - min(begins) if seconds is None else seconds)


def _check(answer, t, requests, ttft, tpot):
    def first(r):
        return r.token_times and r.token_times[0] - r.arrival_time <= ttft

    def gaps(r):
        return np.diff(r.token_times)

    def pace(r):
        return len(r.token_times) > 0 and (len(r.token_times) == 1 or gaps(r).mean() <= tpot + 1e-12)

    def good(r):
        return first(r) and pace(r)

    wanted = _rate(requests, good)
    whole = max(r.finish_time for r in requests)
    kept = [r for r in requests if good(r)]
    wrong = {
        "empty": _rate(requests, lambda r: not r.token_times or good(r)),
        "throughput": _rate(requests, lambda r: True),
        "either": _rate(requests, lambda r: first(r) or pace(r)),
        "since_scheduled": _rate(requests, lambda r: r.token_times and r.token_times[0] - r.scheduled_time <= ttft and pace(r)),
        "single": _rate(requests, lambda r: good(r) and len(r.token_times) > 1),
        "all_tokens": _rate(requests, lambda r: first(r) and (r.token_times[-1] - r.token_times[0]) <= tpot * len(r.token_times) + 1e-12),
        "with_first": _rate(requests, lambda r: first(r) and (r.token_times[-1] - r.arrival_time) <= tpot * max(len(r.token_times) - 1, 1)),
        "worst_gap": _rate(requests, lambda r: good(r) and (len(r.token_times) == 1 or gaps(r).max() <= tpot)),
        "strictly": _rate(requests, lambda r: good(r) and r.token_times[0] - r.arrival_time < ttft and (len(r.token_times) == 1 or gaps(r).mean() < tpot)),
        "from_zero": _rate(requests, good, whole),
        "mean_latency": _rate(requests, good, sum(r.finish_time - r.arrival_time for r in requests)),
    }  # fmt: skip
    if kept:
        wrong["busy_time"] = len(kept) / (max(r.finish_time for r in kept) - min(r.arrival_time for r in kept))
    given = answer(requests, ttft, tpot)
    t.true(isinstance(given, (int, float, np.number)), f"goodput is {given!r:.60}; wanted a number.")
    near = {name: lambda y, value=value: abs(y - value) < 1e-9 for name, value in wrong.items() if abs(value - wanted) > 1e-9}
    shown = [(r.arrival_time, [round(x, 3) for x in r.token_times]) for r in requests[:4]]
    dots = " ..." if len(requests) > 4 else ""
    ok = abs(float(given) - wanted) < 1e-9
    mistake = None if ok else next((name for name, test in near.items() if test(float(given))), None)
    t.true(
        ok, f"goodput(requests, {ttft:g}, {tpot:g}) is {float(given):.6g}; wanted {wanted:.6g} a second.\n"
        f"{len(requests)} requests as (arrival, token times): {shown}{dots}", mistake,
    )  # fmt: skip


@goodput.case("all in time")
def _(answer, t):
    _check(answer, t, _requests((0, 0, 0.5, [0.125, 0.125]), (1, 0.25, 0.5, [0.125] * 4)), 1.0, 0.25)


@goodput.case("a first token that came late, a pace that was too slow")
def _(answer, t):
    requests = _requests((0, 0, 0.5, [0.125] * 3), (0.5, 0.75, 1.25, [0.125] * 3), (1, 0, 0.5, [0.5] * 3), (2, 2, 3, [1, 1]))
    _check(answer, t, requests, 1.0, 0.25)
    _check(answer, t, requests, 1.25, 0.25)


@goodput.case("the pace is the mean of the gaps after the first token")
def _(answer, t):
    _check(answer, t, _requests((0, 0, 0.125, [0.125, 0.375, 0.125]), (0, 0, 0.25, [0.25, 0.28125]), (0, 0, 3, [1, 1]), (0, 0, 2, [0.125])), 1.0, 0.25)


@goodput.case("exactly the goal is in time")
def _(answer, t):
    _check(answer, t, _requests((0, 0, 1.0, [0.25, 0.25]), (1, 0, 0.5, [0.5])), 1.0, 0.25)


@goodput.case("requests of one token, and of none", errors={"empty": "IndexError|min\\(\\)|max\\(\\)", "single": "ZeroDivisionError"})
def _(answer, t):
    _check(answer, t, _requests((0, 0, 0.5, []), (1, 0, 0.5, [0.125])), 1.0, 0.25)
    _check(answer, t, _requests((0, 0, 0.5, [0.125]), (1, 0.5, None, [])), 1.0, 0.25)
    _check(answer, t, _requests((0, 0.5, None, []), (1, 0.5, 0.75, [0.125])), 1.0, 0.25)


@goodput.case("a clock that does not begin at 0")
def _(answer, t):
    specs = (0, 0, 0.5, [0.125] * 3), (0.5, 0, 0.75, [0.125]), (4, 0, 2, [0.5])
    _check(answer, t, _requests(*specs, start=1000.0), 1.0, 0.25)


@goodput.case("50 random loads")
def _(answer, t):
    for _ in range(50):
        specs = []
        for _ in range(int(t.rng.integers(1, 12))):
            gaps = t.rng.choice([0.125, 0.25, 0.5], int(t.rng.integers(0, 5))).tolist()
            none = t.rng.random() < 0.1
            # Eighths of a second: sums of them are exact, so that equal is equal.
            specs.append((int(t.rng.integers(0, 40)) / 8, 0.25, None if none else float(t.rng.choice([0.5, 0.75, 1.5])), gaps))
        _check(answer, t, _requests(*specs, start=float(t.rng.integers(0, 50))), 1.0, 0.25)
