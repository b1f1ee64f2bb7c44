"""Goodput."""

import numpy as np

from .. import mutant, rival

GOODPUT = "build_your_own_vllm.goodput"


def _span(requests):
    return max(r.finish_time for r in requests) - min(r.arrival_time for r in requests)


def _first(r, goal):
    return len(r.token_times) > 0 and r.token_times[0] - r.arrival_time <= goal


def _pace(r, goal):
    return r.token_times[-1] - r.token_times[0] <= goal * (len(r.token_times) - 1)


@mutant(GOODPUT, "throughput")
def counts_all(requests, ttft_goal, tpot_goal):
    return len(requests) / _span(requests)


@mutant(GOODPUT, "either")
def one_promise_is_enough(requests, ttft_goal, tpot_goal):
    return sum(bool(r.token_times) and (_first(r, ttft_goal) or _pace(r, tpot_goal)) for r in requests) / _span(requests)


@mutant(GOODPUT, "since_scheduled")
def from_the_first_step(requests, ttft_goal, tpot_goal):
    good = [r for r in requests if r.token_times and r.token_times[0] - r.scheduled_time <= ttft_goal and _pace(r, tpot_goal)]
    return len(good) / _span(requests)


@mutant(GOODPUT, "all_tokens")
def divides_by_n(requests, ttft_goal, tpot_goal):
    good = [r for r in requests if _first(r, ttft_goal) and (r.token_times[-1] - r.token_times[0]) / len(r.token_times) <= tpot_goal]
    return len(good) / _span(requests)


@mutant(GOODPUT, "worst_gap")
def longest_gap(requests, ttft_goal, tpot_goal):
    good = [r for r in requests if _first(r, ttft_goal) and max(np.diff(r.token_times), default=0) <= tpot_goal]
    return len(good) / _span(requests)


@mutant(GOODPUT, "with_first")
def pace_from_arrival(requests, ttft_goal, tpot_goal):
    good = [
        r for r in requests
        if _first(r, ttft_goal) and (r.token_times[-1] - r.arrival_time) / max(len(r.token_times) - 1, 1) <= tpot_goal
    ]  # fmt: skip
    return len(good) / _span(requests)


@mutant(GOODPUT, "empty")
def empty_breaks(requests, ttft_goal, tpot_goal):
    good = [r for r in requests if r.token_times[0] - r.arrival_time <= ttft_goal and _pace(r, tpot_goal)]
    return len(good) / _span(requests)


@mutant(GOODPUT, "empty")
def empty_counts(requests, ttft_goal, tpot_goal):
    good = [r for r in requests if not r.token_times or (_first(r, ttft_goal) and _pace(r, tpot_goal))]
    return len(good) / _span(requests)


@mutant(GOODPUT, "single")
def divides_by_zero(requests, ttft_goal, tpot_goal):
    good = [
        r for r in requests
        if _first(r, ttft_goal) and (r.token_times[-1] - r.token_times[0]) / (len(r.token_times) - 1) <= tpot_goal
    ]  # fmt: skip
    return len(good) / _span(requests)


@mutant(GOODPUT, "from_zero")
def clock_from_zero(requests, ttft_goal, tpot_goal):
    good = [r for r in requests if _first(r, ttft_goal) and _pace(r, tpot_goal)]
    return len(good) / max(r.finish_time for r in requests)


@mutant(GOODPUT, "busy_time")
def only_while_good(requests, ttft_goal, tpot_goal):
    good = [r for r in requests if _first(r, ttft_goal) and _pace(r, tpot_goal)]
    return len(good) / _span(good) if good else 0.0


@mutant(GOODPUT, "mean_latency")
def sum_of_times(requests, ttft_goal, tpot_goal):
    good = [r for r in requests if _first(r, ttft_goal) and _pace(r, tpot_goal)]
    return len(good) / sum(r.finish_time - r.arrival_time for r in requests)


@mutant(GOODPUT, "strictly")
def below_the_goal(requests, ttft_goal, tpot_goal):
    good = [
        r for r in requests
        if r.token_times and r.token_times[0] - r.arrival_time < ttft_goal
        and (len(r.token_times) == 1 or np.mean(np.diff(r.token_times)) < tpot_goal)
    ]  # fmt: skip
    return len(good) / _span(requests)


@mutant(GOODPUT, None)
def counts_but_does_not_divide(requests, ttft_goal, tpot_goal):
    return 1 + sum(_first(r, ttft_goal) and _pace(r, tpot_goal) for r in requests)


@rival(GOODPUT)
def by_arrays(requests, ttft_goal, tpot_goal):
    served = [r for r in requests if r.token_times]
    first = np.array([r.token_times[0] - r.arrival_time for r in served])
    pace = np.array([np.mean(np.diff(r.token_times)) if len(r.token_times) > 1 else 0.0 for r in served])
    return int(np.sum((first <= ttft_goal) & (pace <= tpot_goal))) / _span(requests)
