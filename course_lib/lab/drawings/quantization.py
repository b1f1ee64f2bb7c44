"""Drawings of notebook 02: grids of values, packed words, blocks of words, and what rounding does to weights."""

from collections.abc import Sequence

import mlx.core as mx
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..style import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, YELLOW, ink_on, new_figure

SHADES = [BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, YELLOW, GREY]


def grids_of_groups(row: mx.array, group_size: int, bits: int) -> Figure:
    """The first groups of a row of weights, each with the values that it can be rounded to.

    Args:
        row: [K].
        group_size: weights that share a scale and a bias.
        bits: of an integer.
    """
    values = np.array(row.astype(mx.float32))
    groups = values[: len(values) // group_size * group_size].reshape(-1, group_size)[:6]
    figure, ax = new_figure(3.2)
    for g, group in enumerate(groups):
        low, high = group.min(), group.max()
        for level in np.linspace(low, high, 2**bits):
            ax.plot([g - 0.36, g + 0.36], [level, level], color=SKY, lw=1.2, zorder=1)
        x = g + np.linspace(-0.3, 0.3, group_size)
        ax.plot(x, group, ".", color=BLUE, ms=5, zorder=2)
    ax.set_xticks(range(len(groups)), [f"group {g}" for g in range(len(groups))])
    ax.set_ylabel("weight")
    ax.set_title(f"Each group has {2**bits} values of its own")
    return figure


def packed_word(q: Sequence[int], bits: int) -> Figure:
    """The integers of one or several words, bit by bit, lowest on the right as numbers are written.

    Args:
        q: integers that fill whole words.
        bits: of each.
    """
    words = len(q) * bits // 32
    figure, axes = new_figure(1.15 * words + 0.5, width=9, rows=words, squeeze=False)
    stream = [(k, value >> b & 1) for k, value in enumerate(q) for b in range(bits)]
    for word, ax in enumerate(axes[:, 0]):
        for place in range(32):
            k, bit = stream[word * 32 + place]
            colour = SHADES[k % len(SHADES)]
            ax.add_patch(Rectangle((31 - place, 0), 1, 1, facecolor=colour, edgecolor="white"))
            ax.text(31.5 - place, 0.5, str(bit), ha="center", va="center", color=ink_on(colour), fontsize=10)
        for k in sorted({k for k, _ in stream[word * 32 : word * 32 + 32]}):
            places = [p for p in range(32) if stream[word * 32 + p][0] == k]
            ax.text(31.5 - (places[0] + places[-1]) / 2, 1.15, f"q{k} = {q[k]}" if bits >= 4 else f"q{k}", ha="center", va="bottom", fontsize=9.5)
        ax.set_xlim(0, 32)
        ax.set_ylim(-0.1, 1.75)
        ax.text(0, -0.15, "bit 31", ha="left", va="top", fontsize=9, color=GREY)
        ax.text(32, -0.15, "bit 0", ha="right", va="top", fontsize=9, color=GREY)
        ax.set_ylabel(f"word {word}", rotation=0, ha="right", va="center")
        ax.set_xticks([])
        ax.set_yticks([])
        for spine in ax.spines.values():
            spine.set_visible(False)
    return figure


def block_of_words(lanes: int = 4, per_word: int = 8) -> Figure:
    """What lies in a vector of packed words, and which weights one shift and one mask bring out.

    Args:
        lanes: words in a vector.
        per_word: weights in a word.
    """
    figure, ax = new_figure(3.3, width=9)
    for lane in range(lanes):
        for j in range(per_word):
            x = lane * (per_word + 0.6) + (per_word - 1 - j)
            _cell(ax, x, 3.2, SHADES[j % len(SHADES)], str(lane * per_word + j))
    for row, j in enumerate((0, 1)):
        for lane in range(lanes):
            x = lane * (per_word + 0.6) + per_word / 2 - 0.5
            _cell(ax, x, 1.5 - 1.4 * row, SHADES[j], str(lane * per_word + j))
        ax.text(-0.5, 2.0 - 1.4 * row, f"(words >> {'BITS * ' if j else ''}{j}) & mask", ha="right", va="center", fontsize=11)
    ax.text(-0.5, 3.7, "a vector of words", ha="right", va="center", fontsize=11)
    for lane in range(lanes):
        ax.text(lane * (per_word + 0.6) + per_word / 2, 4.45, f"lane {lane}", ha="center", fontsize=10, color=GREY)
    ax.set_xlim(-9.5, lanes * (per_word + 0.6))
    ax.set_ylim(-0.2, 5)
    ax.axis("off")
    ax.set_title("One shift and one mask bring out weight j of every word", fontsize=12)
    return figure


def rounded_histogram(weights: mx.array, restored: mx.array, title: str) -> Figure:
    """How weights are distributed before and after rounding, and how large the errors are.

    Args:
        weights, restored: of the same shape.
    """
    before, after = (np.array(a.astype(mx.float32)).ravel() for a in (weights, restored))
    figure, (left, right) = new_figure(3.2, width=9, columns=2)
    edge = np.quantile(np.abs(before), 0.999)
    bins = np.linspace(-edge, edge, 161)
    counts, _, _ = left.hist(before, bins=bins, color=BLUE, alpha=0.35, label="before")
    left.hist(after, bins=bins, histtype="step", color=VERMILLION, lw=1.2, label="after")
    left.set_ylim(0, 2.5 * counts.max())  # few values take many weights each: their spikes may be cut
    left.set_xlabel("weight")
    left.set_ylabel("how many")
    left.set_yticks([])
    left.legend(fontsize=10)
    left.set_title(title)
    error = after - before
    right.hist(error, bins=np.linspace(-edge / 3, edge / 3, 121), color=ORANGE)
    right.set_xlabel("error")
    right.set_yticks([])
    right.set_title(f"error: {100 * np.sqrt(np.square(error).mean() / np.square(before).mean()):.1f} % of the weights' size")
    return figure


def _cell(ax, x, y, colour, text):
    ax.add_patch(Rectangle((x, y), 1, 1, facecolor=colour, edgecolor="white"))
    ax.text(x + 0.5, y + 0.5, text, ha="center", va="center", color=ink_on(colour), fontsize=9)
