"""Drawings of notebook 06: padding, what a static batch computes, rows that come and go."""

from collections.abc import Sequence

import mlx.core as mx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Patch, Rectangle

from ..style import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, ink_on, new_figure

PALE = "#F2F2F2"
EDGE = "#BBBBBB"
ROWS = [BLUE, ORANGE, GREEN, PURPLE, SKY]


def padded_batch(texts: Sequence[Sequence[str]]) -> Figure:
    """The same texts as lists, and as one tensor that is padded on the left, with their positions.

    Args:
        texts: tokens, one label each.
    """
    L, B = max(map(len, texts)), len(texts)
    figure, axes = new_figure(0.5 * B + 1.0, width=9, columns=2)
    for axis, title, pad in zip(axes, ("prompts", f"one tensor [{B}, {L}]"), (False, True), strict=True):
        for row, text in enumerate(texts):
            left = L - len(text) if pad else 0
            for column in range(left):
                _cell(axis, column, row, PALE)
                axis.text(column + 0.5, row + 0.5, "pad", ha="center", va="center", fontsize=8, color=GREY)
            for place, word in enumerate(text):
                _cell(axis, left + place, row, ROWS[row % len(ROWS)], word)
                if pad:
                    axis.text(
                        left + place + 0.93, row + 0.93, str(place), ha="right", va="bottom", fontsize=7,
                        color=ink_on(ROWS[row % len(ROWS)]),
                    )  # fmt: skip
        _bare(axis, L, B)
        axis.set_title(title, fontsize=12, loc="center")
    return figure


def row_masks(mask: mx.array, names: Sequence[str]) -> Figure:
    """The masks of a batch side by side, a panel a row.

    Args:
        mask: booleans [B, 1, L, S], filled where a query (down) may attend to a key (across).
        names: one a row.
    """
    grids = np.array(mask)[:, 0]
    B, L, S = grids.shape
    figure, axes = new_figure(0.36 * L + 1.0, width=min(9, 0.36 * B * (S + 1) + 1), columns=B, squeeze=False)
    for row, axis in enumerate(axes[0]):
        for query in range(L):
            for key in range(S):
                _cell(axis, key, query, ROWS[row % len(ROWS)] if grids[row, query, key] else PALE)
        _bare(axis, S, L)
        axis.set_aspect("equal")
        axis.set_title(names[row], fontsize=11, loc="center")
    return figure


def what_a_batch_computes(prompts: Sequence[int], answers: Sequence[int]) -> Figure:
    """Token positions of one static batch, a box each: useful, padding, or computed for a row that has ended.

    Args:
        prompts, answers: lengths.
    """
    L, A, B = max(prompts), max(answers) - 1, len(prompts)
    figure, axis = new_figure(0.36 * B + 1.1, width=9)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        for column in range(L):
            _cell(axis, column, row, ORANGE if column >= L - prompt else PALE)
        for column in range(A):
            _cell(axis, L + 0.6 + column, row, BLUE if column < answer - 1 else "#888888")
    _bare(axis, L + A + 0.6, B + 0.4)
    axis.text(L / 2, B + 0.15, f"one pass over {L} columns", ha="center", va="top", fontsize=10)
    axis.text(L + 0.6 + A / 2, B + 0.15, f"{A} passes, one column each", ha="center", va="top", fontsize=10)
    axis.text(-0.3, B / 2, "requests", ha="right", va="center", rotation=90, fontsize=10)
    axis.set_ylim(B + 0.8, -0.1)
    handles = [
        Patch(facecolor=ORANGE, label="prompt"),
        Patch(facecolor=PALE, edgecolor=EDGE, label="padding"),
        Patch(facecolor=BLUE, label="answer"),
        Patch(facecolor="#888888", label="row has ended, still computed"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=10)
    return figure


def rows_come_and_go(lengths: Sequence[int], capacity: int = 8) -> Figure:
    """A batched cache in four moments: three rows, a token each, the first leaves, another joins.

    Args:
        lengths: tokens that the three rows hold at first.
        capacity: tokens that a row has room for.
    """
    a, b, c = ((colour, length) for colour, length in zip(ROWS, lengths, strict=False))
    grown = [(colour, length + 1) for colour, length in (a, b, c)]
    moments = [
        ("three rows", [a, b, c], 0),
        ("append: one token\nto each, at its own end", grown, 1),
        ("remove(0): the last row\ntakes the place", [grown[2], grown[1]], 0),
        ("add(), append: the\nnext request", [grown[2], grown[1], (ROWS[3], 3)], 0),
    ]
    figure, axes = new_figure(2.1, width=9, columns=len(moments))
    for axis, (title, rows, new) in zip(axes, moments, strict=True):
        for row in range(4):
            colour, length = rows[row] if row < len(rows) else (PALE, 0)
            for place in range(capacity):
                fill = "white" if place >= length else BLACK if place >= length - new else colour
                _cell(axis, place, row, fill)
        _bare(axis, capacity, 4)
        axis.set_title(title, fontsize=10, loc="center", fontweight="normal")
    axes[2].add_patch(
        FancyArrowPatch(
            (-0.2, 2.5), (-0.2, 0.5), arrowstyle="-|>", mutation_scale=12, lw=1.4, color="0.35",
            connectionstyle="arc3,rad=-0.5", clip_on=False,
        )
    )  # fmt: skip
    axes[2].set_xlim(-1.4, capacity)
    axes[0].set_ylabel("rows")
    return figure


def _cell(axis: Axes, x: float, y: float, colour: str, word: str = "") -> None:
    axis.add_patch(Rectangle((x + 0.04, y + 0.04), 0.92, 0.92, facecolor=colour, edgecolor=EDGE, lw=0.6))
    if word:
        axis.text(x + 0.5, y + 0.45, word, ha="center", va="center", fontsize=8.5, color=ink_on(colour))


def _bare(axis: Axes, width: float, height: float) -> None:
    axis.set_xlim(-0.1, width + 0.1)
    axis.set_ylim(height + 0.1, -0.1)
    axis.axis("off")
