"""Drawings of notebook 10: rows in vectors, floats above a common unit, and numbers as bytes."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..style import BLUE, GREEN, GREY, ORANGE, PURPLE, ink_on, new_figure

ROWS = (BLUE, ORANGE, GREEN, PURPLE)
DIGITS = (BLUE, GREEN, ORANGE)
PALE = "#E4E4E4"
MANTISSA = 24  # bits of a float32


def rows_in_vectors(lanes: int = 4, vectors: int = 3) -> Figure:
    """What the lanes of consecutive vectors hold, row after row and in a panel, and what is left to add up.

    Args:
        lanes: of a vector, and rows of the panel.
        vectors: shown of each.
    """
    figure, axes = new_figure(3.6, width=9.5, columns=2)
    for ax, panel in zip(axes, (False, True), strict=True):
        for v in range(vectors):
            y = vectors - v
            for lane in range(lanes):
                row, column = (lane, v) if panel else (0, v * lanes + lane)
                _cell(ax, lane, y, ROWS[row % len(ROWS)], f"r{row}, {column}")
            ax.text(-0.15, y + 0.45, f"vector {v}", ha="right", va="center", fontsize=10.5, color=GREY)
        ax.annotate("", (lanes / 2, 0.25), (lanes / 2, 0.9), arrowprops={"arrowstyle": "->", "color": GREY})
        ax.text(lanes / 2 + 0.15, 0.55, "times x, added up", va="center", fontsize=10, color=GREY)
        for lane in range(lanes):
            _cell(ax, lane, -0.8, ROWS[lane % len(ROWS)] if panel else ROWS[0], f"sum r{lane}" if panel else "part")
        if panel:
            ax.text(lanes / 2, -1.6, "done: every lane is a row's sum", ha="center", fontsize=11)
        else:
            ax.text(lanes / 2, -1.6, "the lanes are still to be added to each other,\nand that for every row", ha="center", va="center", fontsize=11)
        ax.set_title("A panel: a lane a row" if panel else "Row after row: a vector of one row")
        ax.set_xlim(-1.6, lanes + 0.2)
        ax.set_ylim(-2.1, vectors + 1.1)
        ax.axis("off")
    return figure


def above_a_unit(x: Sequence[float], digits: int = 3) -> Figure:
    """The bits of a group's floats, each at its place above or below the unit that the group shares.

    Args:
        x: a group of floats, none of them 0.
        digits: bytes above the unit.
    """
    values = np.array(x, np.float32)
    most = 127 * sum(256**d for d in range(digits))
    unit = int(np.ceil(np.log2(np.abs(values.astype(np.float64)).max() / most)))
    top, bottom = 8 * digits, -10
    figure, ax = new_figure(0.42 * len(values) + 1.5, width=9.5)
    for digit in range(digits):
        right = 8 * (digits - digit - 1)
        ax.add_patch(Rectangle((top - right - 8, -0.2), 8, len(values) + 0.2, facecolor=DIGITS[digit % 3], alpha=0.13))
        ax.text(top - right - 4, -0.35, ("first", "second", "third")[digit] + " byte", ha="center", fontsize=11, color=GREY)
    for i, value in enumerate(values):
        exponent = int(np.frexp(abs(value))[1]) - 1 - unit  # of the highest bit, counted in units
        mantissa = int(abs(float(value)) / 2.0 ** (exponent + unit - MANTISSA + 1))
        for bit in range(MANTISSA):
            place = exponent - bit
            if place < bottom:
                break
            set_ = mantissa >> (MANTISSA - 1 - bit) & 1
            kept = place >= 0
            colour = (DIGITS[min(digits - 1, digits - 1 - place // 8) % 3] if kept else GREY) if set_ else ("white" if kept else PALE)
            ax.add_patch(Rectangle((top - place - 1 + 0.06, i + 0.12), 0.88, 0.72, facecolor=colour, edgecolor="#999999", lw=0.6))
        ax.text(-0.4, i + 0.48, f"{value:.6g}", ha="right", va="center", fontsize=11)
    ax.axvline(top, color="black", lw=1.4)
    ax.text(top + 0.2, len(values) + 0.35, f"unit: 2^{unit}", fontsize=11, va="center")
    ax.text(top + 0.3, -0.35, "rounded away", fontsize=11, color=GREY)
    ax.set_xlim(-4.2, top - bottom)
    ax.set_ylim(len(values) + 0.7, -0.9)
    ax.axis("off")
    return figure


def _cell(ax, x, y, colour, text):
    ax.add_patch(Rectangle((x + 0.03, y), 0.94, 0.9, facecolor=colour, edgecolor="white"))
    ax.text(x + 0.5, y + 0.45, text, ha="center", va="center", color=ink_on(colour), fontsize=9.5)
