"""Drawings of notebook 09: what routers make of the same prompts."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure

from ..style import BLUE, GREY, VERMILLION, new_figure

REPLICAS, HELD, DONE = 4, 6, 6  # prompts that a cache holds; tokens that a replica computes between two arrivals


def three_routers(choose: Callable[[Sequence[int], Sequence, Sequence[int]], int]) -> Figure:
    """Tokens computed by each replica: by the least load, by the longest known beginning alone, and by `choose`.

    Args:
        choose: `choose(prompt, known, loads)` gives a replica.
    """
    prompts = _prompts(240)
    routers = {
        "least load": lambda prompt, known, loads: loads.index(min(loads)),
        "longest known beginning": _longest,
        "yours": choose,
    }
    figure, axes = new_figure(2.7, width=10, columns=3, sharey=True)
    for axis, (name, router), colour in zip(axes, routers.items(), (GREY, BLUE, VERMILLION), strict=True):
        computed = _serve(router, prompts)
        axis.bar(range(REPLICAS), computed, color=colour, width=0.7)
        axis.set_title(f"{name}\n{sum(computed):,} tokens", fontsize=11)
        axis.set_xticks(range(REPLICAS))
        axis.set_xlabel("replica")
    axes[0].set_ylabel("tokens computed")
    return figure


def _prompts(count: int) -> list[list[int]]:
    """Prompts with five common beginnings, of which one is far more frequent than the others."""
    random = np.random.default_rng(7)
    beginnings = [random.integers(0, 50, 80 + 10 * i).tolist() for i in range(5)]
    weights = np.arange(1, 6) ** -2.0
    chosen = random.choice(5, count, p=weights / weights.sum())
    return [beginnings[i] + random.integers(50, 99, 15).tolist() for i in chosen]


def _serve(router: Callable, prompts: Sequence[Sequence[int]]) -> list[int]:
    known, loads, computed = [[] for _ in range(REPLICAS)], [0] * REPLICAS, [0] * REPLICAS
    for prompt in prompts:
        replica = router(prompt, known, loads)
        new = len(prompt) - _known(prompt, known[replica])
        computed[replica] += new
        loads[replica] += new
        known[replica] = [*known[replica], prompt][-HELD:]
        loads = [max(load - DONE, 0) for load in loads]
    return computed


def _longest(prompt: Sequence[int], known: Sequence, loads: Sequence[int]) -> int:
    found = [_known(prompt, held) for held in known]
    return found.index(max(found))


def _known(prompt: Sequence[int], held: Sequence[Sequence[int]]) -> int:
    """Tokens at the prompt's beginning that one of the held prompts begins with, too."""

    def common(other: Sequence[int]) -> int:
        same = [a == b for a, b in zip(prompt, other, strict=False)]
        return same.index(False) if False in same else len(same)

    return max(map(common, held), default=0)
