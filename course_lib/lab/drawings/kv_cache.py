"""Drawings of notebook 01: what a step computes, masks, shared heads, and how caches grow."""

from collections.abc import Sequence

import mlx.core as mx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from ..style import BLUE, GREY, ORANGE, SKY, VERMILLION, ink_on, new_figure

PALE = "#F2F2F2"


def what_a_step_computes(text: Sequence[str], steps: int = 3) -> Figure:
    """Which rows of Q, K and V the last few steps compute, without and with a cache.

    Args:
        text: the tokens, one label each; the last `steps` of them are read one a step.
    """
    figure, axes = new_figure(1.15 * steps + 1.4, columns=2)
    titles = ("without a cache", "with a cache")
    for axis, title, cached in zip(axes, titles, (False, True), strict=True):
        for step in range(steps):
            seen = len(text) - steps + step + 1
            for row, name in enumerate("QKV"):
                y = step * 4 + row
                axis.text(-0.3, y + 0.5, name, ha="right", va="center", fontsize=10)
                for position in range(seen):
                    new = not cached or position == seen - 1
                    colour = VERMILLION if new else BLUE if name != "Q" else PALE
                    _cell(axis, position, y, colour)
            for position in range(seen):
                axis.text(
                    position + 0.5, step * 4 - 0.15, text[position], ha="center", va="bottom", fontsize=8.5
                )
        _bare(axis, len(text), steps * 4 - 0.6, top=-0.9)
        axis.set_title(title, loc="center", fontsize=12)
    handles = [
        Patch(facecolor=VERMILLION, label="computed in this step"),
        Patch(facecolor=BLUE, label="taken from the cache"),
        Patch(facecolor=PALE, edgecolor="#BBBBBB", label="not needed"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=10)
    return figure


def mask_grids(masks: Sequence[mx.array], titles: Sequence[str]) -> Figure:
    """Masks side by side: a row a query (L of them), a column a key (S), filled where the query may attend.

    Args:
        masks: booleans [L, S].
        titles: one each.
    """
    arrays = [np.array(mask) for mask in masks]
    gap = 2.6  # cells between two masks: room for a title that is wider than its mask
    width = sum(array.shape[1] + gap for array in arrays)
    tallest = max(array.shape[0] for array in arrays)
    top = 1.1 * max(title.count("\n") + 1 for title in titles)
    figure, axis = new_figure(0.2 + 7.0 / width * (tallest + 1.2 + top))
    left = gap / 2
    for array, title in zip(arrays, titles, strict=True):
        L, S = array.shape
        for query in range(L):
            for key in range(S):
                _cell(axis, left + key, query, BLUE if array[query, key] else PALE)
        middle = left + S / 2
        axis.text(middle, -0.25, title, ha="center", va="bottom", fontsize=11, fontweight="bold")
        axis.text(middle, L + 0.2, f"S = {S}", ha="center", va="top", fontsize=10)
        axis.text(left - 0.2, L / 2, f"L = {L}", ha="right", va="center", rotation=90, fontsize=10)
        left += S + gap
    axis.set_xlim(0, width)
    axis.set_ylim(tallest + 1.2, -top)
    axis.set_aspect("equal")
    axis.axis("off")
    return figure


def shared_heads(H: int = 9, H_kv: int = 3) -> Figure:
    """Which key/value head each query head reads."""
    figure, axis = new_figure(1.9)
    group = H // H_kv
    colours = [BLUE, ORANGE, VERMILLION, SKY, GREY]
    for h in range(H):
        colour = colours[h // group % len(colours)]
        centre = (h // group + 0.5) * group
        axis.plot([h + 0.5, centre], [0.95, 2.05], color=colour, lw=1.6, zorder=0)
        _named(axis, h + 0.06, 0, 0.88, colour, f"q{h}")
    for h in range(H_kv):
        _named(axis, h * group + group / 2 - 0.8, 2.05, 1.6, colours[h % len(colours)], f"k{h}, v{h}")
    _bare(axis, H, 3.1, top=-0.1)
    axis.text(-0.2, 0.45, f"{H} query heads", ha="right", va="center", fontsize=10)
    axis.text(-0.2, 2.5, f"{H_kv} key/value heads", ha="right", va="center", fontsize=10)
    axis.set_xlim(-2.6, H)
    return figure


def how_caches_grow(tokens: int = 6, step: int = 4) -> Figure:
    """What each update writes, copies and leaves alone: concatenating, and reserving room in steps."""
    figure, axes = new_figure(0.34 * tokens + 1.5, columns=2)
    for axis, title, reserve in zip(
        axes, ("concatenating", f"reserving, step {step}"), (False, True), strict=True
    ):
        for update in range(tokens):
            room = -(-(update + 1) // step) * step if reserve else update + 1
            moved = not reserve or update % step == 0
            for place in range(room):
                if place < update:
                    colour = ORANGE if moved else BLUE
                else:
                    colour = VERMILLION if place == update else "white"
                _cell(axis, place, update, colour)
        width = -(-tokens // step) * step
        _bare(axis, width, tokens, top=0)
        axis.set_title(title, fontsize=12, loc="center")
        for update in range(tokens):
            axis.text(-0.3, update + 0.5, f"{update + 1}", ha="right", va="center", fontsize=9)
    axes[0].text(-1.3, tokens / 2, "updates of one token", rotation=90, ha="center", va="center", fontsize=10)
    handles = [
        Patch(facecolor=VERMILLION, label="written"),
        Patch(facecolor=ORANGE, label="copied"),
        Patch(facecolor=BLUE, label="left where it is"),
        Patch(facecolor="white", edgecolor="#BBBBBB", label="reserved"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=10)
    return figure


def _cell(axis: Axes, x: float, y: float, colour: str) -> None:
    axis.add_patch(Rectangle((x + 0.05, y + 0.05), 0.9, 0.9, facecolor=colour, edgecolor="#BBBBBB", lw=0.6))


def _named(axis: Axes, x: float, y: float, width: float, colour: str, name: str) -> None:
    axis.add_patch(Rectangle((x, y), width, 0.9, facecolor=colour, edgecolor="white"))
    axis.text(x + width / 2, y + 0.45, name, ha="center", va="center", fontsize=10, color=ink_on(colour))


def _bare(axis: Axes, width: float, height: float, top: float) -> None:
    axis.set_xlim(-1.6, width)
    axis.set_ylim(height, top)
    axis.axis("off")
