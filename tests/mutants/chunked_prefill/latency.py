"""The budget for a latency goal."""

import numpy as np

from .. import mutant, rival

BUDGET = "chunked_prefill.choose_budget"


def _curve(costs, goal, middle=np.median):
    if not costs:
        raise ValueError("nothing measured")
    sizes = np.array(sorted(costs))
    seconds = np.array([middle(costs[n]) for n in sizes])
    if seconds[0] > goal:
        raise ValueError("nothing keeps the goal")
    return sizes, seconds


@mutant(BUDGET, "proportional")
def budget_by_rate(costs, goal):
    sizes, seconds = _curve(costs, goal)
    return int(goal / (seconds[-1] / sizes[-1]))


@mutant(BUDGET, "proportional")
def budget_by_small_steps(costs, goal):
    sizes, seconds = _curve(costs, goal)
    return int(goal / (seconds[0] / sizes[0]))


@mutant(BUDGET, "too_slow")
def budget_rounds_up(costs, goal):
    sizes, seconds = _curve(costs, goal)
    return int(next((n for n, s in zip(sizes, seconds) if s >= goal), sizes[-1]))


@mutant(BUDGET, "too_small")
def budget_measured_sizes_only(costs, goal):
    sizes, seconds = _curve(costs, goal)
    return int(max(n for n, s in zip(sizes, seconds) if s <= goal))


@mutant(BUDGET, "outlier")
def budget_by_mean(costs, goal):
    if costs and min(np.median(s) for s in costs.values()) > goal:
        raise ValueError("nothing keeps the goal")
    sizes, seconds = _curve(costs, goal, np.mean)
    seconds = np.maximum.accumulate(seconds)
    return int(np.interp(goal, seconds, sizes))


@mutant(BUDGET, "line")
def budget_straight_line(costs, goal):
    sizes, seconds = _curve(costs, goal)
    slope, fixed = np.polyfit(sizes, seconds, 1)
    return min(int((goal - fixed) / slope + 1e-6), int(sizes[-1]))


@mutant(BUDGET, "unknown")
def budget_beyond(costs, goal):
    sizes, seconds = _curve(costs, goal)
    if goal > seconds[-1]:
        return int(sizes[-1] * goal / seconds[-1])
    return int(np.interp(goal, np.maximum.accumulate(seconds), sizes))


@mutant(BUDGET, None)
def budget_of_nothing(costs, goal):
    sizes, seconds = _curve(costs or {1: [0.0]}, goal)
    return int(np.interp(goal, np.maximum.accumulate(seconds), sizes))


@rival(BUDGET)
def budget_by_trying(costs, goal):
    sizes, seconds = _curve(costs, goal)
    return max(n for n in range(int(sizes[0]), int(sizes[-1]) + 1) if np.interp(n, sizes, seconds) <= goal * 1.001)
