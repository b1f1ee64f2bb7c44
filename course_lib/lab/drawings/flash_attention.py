"""Drawings of notebook 04: which tiles a mask leaves, and an online softmax on its way through them."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from ..style import BLUE, GREY, ORANGE, VERMILLION, ink_of, new_figure

PALE = "#DCDCDC"


def tile_grids(cases: Sequence[tuple[int, int, int, int]]) -> Figure:
    """Tiles that a causal mask leaves, one grid a case.

    Args:
        cases: (L, S, query_block, key_block): queries, keys, and the tile's sides.
    """
    figure, axes = new_figure(3.3, width=9.5, columns=len(cases))
    for ax, case in zip(np.atleast_1d(axes), cases, strict=True):
        counts = _tiles(ax, *case)
        L, S, _, _ = case
        queries = "1 query" if L == 1 else f"{L} queries"
        ax.set_title(f"{queries}, {S} keys\n{counts['skipped']} of {sum(counts.values())} tiles skipped", fontsize=11, loc="center")
    handles = [
        Patch(facecolor=BLUE, label="seen whole: no mask needed"),
        Patch(facecolor=ORANGE, label="seen in part: mask"),
        Patch(facecolor="white", edgecolor=GREY, label="not seen: skipped"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=10)
    return figure


def softmax_frames(scores: Sequence[float], key_block: int) -> Figure:
    """All steps of one query's online softmax, side by side.

    Args:
        scores: of one query with S keys, [S].
        key_block: keys in a tile.
    """
    steps = -(-len(scores) // key_block)
    figure, axes = new_figure(3.2, width=10, columns=steps, sharey=True)
    for step, ax in enumerate(np.atleast_1d(axes)):
        _frame(ax, np.asarray(scores, float), key_block, step)
        if step:
            ax.set_ylabel("")
    return figure


def softmax_step(scores: Sequence[float], key_block: int, step: int) -> Figure:
    """One step: the scores on the left, and what is carried, step after step, on the right."""
    scores = np.asarray(scores, float)
    figure, (left, right) = new_figure(3.9, width=9.5, columns=2, width_ratios=[1, 1.15])
    _frame(left, scores, key_block, step)
    left.set_title(f"tile {step}")  # the table has the rest
    _table(right, scores, key_block, step)
    return figure


def _table(ax: Axes, scores: np.ndarray, key_block: int, step: int) -> None:
    """What is carried after each step up to this one, a line each."""
    ax.set_axis_off()
    # Room for all steps from the start, so that lines stay where they are while the slider moves.
    lines = -(-len(scores) // key_block)
    bottom = max(lines, 8) + (3 if lines <= 8 else 4.5)
    ax.set(xlim=(0, 1), ylim=(bottom, -1.2))
    size = 11 if lines <= 8 else 8.5
    places = (0.09, 0.30, 0.53, 0.76, 0.99)
    for place, head in zip(places, ("tile", "largest", "rescale", "sum\nbefore", "sum\nafter"), strict=True):
        ax.text(place, 0, head, ha="right", va="baseline", fontsize=size, weight="bold", linespacing=1.05)
    before = "none"
    for i in range(step + 1):
        largest, rescale, total = _carried(scores, key_block, i)
        colour = ink_of(VERMILLION) if i == step else "black"
        factor = "none" if rescale is None else f"{rescale:.3f}"
        for place, text in zip(places, (f"{i}", f"{largest:.2f}", factor, before, f"{total:.3f}"), strict=True):
            ax.text(place, i + 1, text, ha="right", fontsize=size, color=colour)
        before = f"{total:.3f}"
    rule = "sum after = sum before · rescale\n                + the tile's own exponentials"
    ax.text(0.02, bottom, rule, ha="left", va="bottom", fontsize=10)


def _tiles(ax: Axes, L: int, S: int, query_block: int, key_block: int) -> dict[str, int]:
    mask = np.arange(S) <= np.arange(S - L, S)[:, None]
    counts = {"full": 0, "partial": 0, "skipped": 0}
    for i in range(0, L, query_block):
        for j in range(0, S, key_block):
            tile = mask[i : i + query_block, j : j + key_block]
            kind = "full" if tile.all() else "partial" if tile.any() else "skipped"
            counts[kind] += 1
            colour = {"full": BLUE, "partial": ORANGE, "skipped": "white"}[kind]
            height, width = tile.shape
            ax.add_patch(Rectangle((j, i), width, height, facecolor=colour, edgecolor="white" if kind != "skipped" else PALE, lw=1.2))
    edge = np.arange(L)
    ax.plot(np.repeat(S - L + edge + 1, 2), np.stack([edge, edge + 1]).T.ravel(), color="black", lw=1)
    ax.set(xlim=(0, S), ylim=(L, 0), xlabel="key", ylabel="query")
    # One query drawn to scale would be a line.
    ax.set_aspect("equal" if L > 4 else 0.12 * S / L)
    if L <= 4:
        ax.set_yticks([])
    return counts


def _carried(scores: np.ndarray, key_block: int, step: int) -> tuple[float, float | None, float]:
    """After this step: the largest score, the factor of this step (None at the first one), and the sum."""
    largest, total, rescale = -np.inf, 0.0, None
    for i in range(step + 1):
        tile = scores[i * key_block : (i + 1) * key_block]
        now = max(largest, tile.max())
        if i:
            rescale = float(np.exp(largest - now))
            total *= rescale
        total += float(np.exp(tile - now).sum())
        largest = now
    return largest, rescale, total


def _frame(ax: Axes, scores: np.ndarray, key_block: int, step: int) -> None:
    largest, rescale, total = _carried(scores, key_block, step)
    begin, end = step * key_block, (step + 1) * key_block
    colours = [PALE if i < begin else BLUE if i < end else "white" for i in range(len(scores))]
    ax.bar(range(len(scores)), scores, color=colours, edgecolor=[PALE if i >= end else "none" for i in range(len(scores))])
    ax.axhline(largest, color=VERMILLION, lw=1.6)
    top = scores.max()
    ax.set_ylim(min(0, scores.min()) * 1.15, top * 1.25)
    factor = "nothing to rescale" if rescale is None else f"rescale {rescale:.3f}"
    ax.set_title(f"tile {step}\nlargest {largest:.2f}\n{factor}\nsum {total:.3f}", fontsize=11, loc="left")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    ax.set(xlabel="key", ylabel="score")
