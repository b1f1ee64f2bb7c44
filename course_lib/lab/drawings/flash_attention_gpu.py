"""Drawings of notebook 05: what lies in which memory, what a block of queries costs and saves, who holds a matrix."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from ...techniques.attention_traffic import KEYS, THREADGROUP_BYTES, largest_block, moved_bytes
from ..plots import TICKS
from ..style import BLUE, GREEN, GREY, ORANGE, SKY, VERMILLION, ink_on, new_figure

PALE = "#E4E4E4"
KIB = 1024


def walk_picture(L: int, S: int, queries: int, place: int, step: int) -> Figure:
    """One step of one threadgroup: its block of queries, its tile of keys and values, and where each of them lies.

    Args:
        L, S: queries and keys of the head.
        queries: of a threadgroup.
        place: number of the threadgroup.
        step: number of the tile.
    """
    figure, ax = new_figure(4.0, width=10)
    first, key = place * queries, step * KEYS
    unit, top, deep = 4.4 / max(L, S), 0.25, 0.85
    ax.text(0, -0.25, "device memory", fontsize=12, weight="bold", va="bottom")
    rows = (("queries", L, (first, queries), BLUE), ("keys", S, (key, KEYS), ORANGE), ("values", S, (key, KEYS), GREEN), ("result", L, (first, queries), BLUE))
    for number, (name, count, (begin, size), colour) in enumerate(rows):
        y = top + number * (deep + 0.2)
        ax.add_patch(Rectangle((0.95, y), count * unit, deep, facecolor=PALE, edgecolor="white"))
        if name in ("keys", "values"):
            ax.add_patch(Rectangle((0.95, y), begin * unit, deep, facecolor=colour, alpha=0.25))
        ax.add_patch(Rectangle((0.95 + begin * unit, y), min(size, count - begin) * unit, deep, facecolor=colour))
        ax.text(0.85, y + deep / 2, name, ha="right", va="center", fontsize=11)
    _box(ax, 6.2, 0.1, 4.6, 2.0, f"threadgroup {place}: threadgroup memory")
    ax.add_patch(Rectangle((6.45, 0.65), 1.9, 1.2, facecolor=BLUE))
    ax.text(7.4, 1.25, f"block\n{queries} queries", ha="center", va="center", color="white", fontsize=11)
    ax.add_patch(Rectangle((8.65, 0.65), 1.9, 1.2, facecolor=ORANGE))
    ax.text(9.6, 1.25, f"tile\n{KEYS} keys, then\ntheir values", ha="center", va="center", color=ink_on(ORANGE), fontsize=11)
    _box(ax, 6.2, 2.45, 4.6, 1.75, "registers of its SIMD-groups")
    ax.text(8.5, 3.5, "largest, sum, weighted\nof each query, from tile to tile;\nthe result, at the end", ha="center", va="center", fontsize=11)
    end = 0.95 + max(L, S) * unit
    for y in (top + deep / 2, top + deep * 1.5 + 0.2, top + deep * 2.5 + 0.4):
        ax.annotate("", (6.15, 1.2), (end + 0.05, y), arrowprops={"arrowstyle": "->", "color": GREY, "lw": 1.5})
    ax.annotate("", (end + 0.05, top + 3 * (deep + 0.2) + deep / 2), (6.15, 3.5), arrowprops={"arrowstyle": "->", "color": GREY, "lw": 1.5})
    ax.set(xlim=(-0.1, 11), ylim=(4.45, -0.6))
    ax.axis("off")
    return figure


def _box(ax: Axes, x: float, y: float, width: float, height: float, words: str) -> None:
    ax.add_patch(FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0.05", facecolor="none", edgecolor=GREY, lw=1.6))
    ax.text(x + 0.08, y + 0.08, words, ha="left", va="top", fontsize=11, weight="bold")


def matrix_lanes() -> Figure:
    """Which lane holds which elements of an 8 x 8 matrix, and which four lanes hold a row."""
    figure, (left, right) = new_figure(4.2, width=10, columns=2, width_ratios=[1, 1.15])
    for lane in range(32):
        row, column = (lane // 4 & 4) + lane // 2 % 4, (lane // 4 & 2) * 2 + lane % 2 * 2
        colour = VERMILLION if row == 2 else SKY if (row + column // 2) % 2 else "#BFE0F2"
        left.add_patch(Rectangle((column, row), 2, 1, facecolor=colour, edgecolor="white", lw=2))
        left.text(column + 1, row + 0.5, str(lane), ha="center", va="center", fontsize=12, color=ink_on(colour))
    left.set(xlim=(0, 8), ylim=(8, 0), xlabel="column", ylabel="row", aspect="equal")
    left.set_xticks(np.arange(8) + 0.5, range(8))
    left.set_yticks(np.arange(8) + 0.5, range(8))
    left.tick_params(length=0)
    for spine in left.spines.values():
        spine.set_visible(False)
    left.set_title("The lane of each pair of elements")
    right.axis("off")
    right.set(xlim=(-1.2, 4.2), ylim=(3.55, -0.7))
    lanes = [lane for lane in range(32) if (lane // 4 & 4) + lane // 2 % 4 == 2]
    for level, (words, mask) in enumerate((("own", 0), ("after xor 1", 1), ("after xor 8", 9))):
        for place, lane in enumerate(lanes):
            group = sorted(lane ^ bits for bits in {0, mask & 1, mask & 8, mask})
            shade = VERMILLION if level == 2 else PALE
            right.add_patch(Rectangle((place, level * 1.2), 0.9, 0.65, facecolor=shade))
            right.text(place + 0.45, level * 1.2 + 0.33, "all 4" if level == 2 else "+".join(map(str, group)), ha="center", va="center", fontsize=10, color=ink_on(shade))
            for other in (place, lanes.index(lane ^ (0, 1, 8)[level])) if level else ():
                right.plot([other + 0.45, place + 0.45], [level * 1.2 - 0.55, level * 1.2], color=GREY, lw=1)
        right.text(-0.1, level * 1.2 + 0.33, words, ha="right", va="center", fontsize=10.5)
    for place, lane in enumerate(lanes):
        right.text(place + 0.45, -0.08, f"lane {lane}", ha="center", va="bottom", fontsize=10)
    right.set_title("Reducing row 2", y=1.0)
    return figure


def bytes_by_block(queries: Sequence[int], measured: Mapping[str, Sequence[int]], N: int, D: int, itemsize: int) -> Figure:
    """Bytes moved against the block of queries, beside the law of the paper and the least there is.

    Args:
        queries: of a threadgroup, ascending.
        measured: name -> bytes that were counted, one a size.
        N: queries and keys of one head; D: head size; itemsize: bytes of a number.
    """
    figure, ax = new_figure(3.8, width=8)
    x = np.geomspace(queries[0], queries[-1], 60)
    memory = x * D  # numbers that a block takes
    law = 2 * N**2 * D**2 / memory * itemsize  # keys and values
    least = 4 * N * D * itemsize
    ax.plot(x, law / KIB, color=GREY, lw=1.6, ls="--")
    ax.annotate("paper: 2 N² D² / M", (x[20], law[20] / KIB), xytext=(-6, -6), textcoords="offset points", ha="right", va="top", color=GREY)
    ax.axhline(least / KIB, color="black", lw=1.2)
    ax.annotate("each number once", (queries[0], least / KIB), xytext=(0, 4), textcoords="offset points", va="bottom")
    for (name, values), colour, marker in zip(measured.items(), (VERMILLION, BLUE), "os", strict=False):
        at = [q for q, value in zip(queries, values, strict=True) if value]
        points = [value / KIB for value in values if value]
        ax.plot(at, points, marker, color=colour, ms=8 if marker == "o" else 5, zorder=3)
        ax.plot([], [], marker, color=colour, label=name)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log", base=2)
    ax.set_xticks(queries, queries)
    ax.yaxis.set_major_formatter(TICKS)
    ax.set_xlabel("queries of a threadgroup")
    ax.set_ylabel("device memory moved (KiB)")
    ax.grid(axis="y")
    ax.legend(loc="upper right")
    ax.set_title(f"{N} queries and keys of one head, D = {D}")
    return figure


def block_choice(D: int, itemsize: int, queries: int, N: int = 4096) -> Figure:
    """A choice of block: what it takes of threadgroup memory, and what it leaves to be moved.

    Args:
        D: head size; itemsize: bytes of a number.
        queries: of a threadgroup.
        N: queries and keys.
    """
    figure, (left, right) = new_figure(3.6, width=10.5, columns=2, width_ratios=[1, 1.5])
    tile, block = KEYS * (D + 1) * itemsize, queries * D * itemsize
    fits = tile + block <= THREADGROUP_BYTES
    left.bar(0, tile / KIB, width=0.6, color=ORANGE)
    left.bar(0, block / KIB, bottom=tile / KIB, width=0.6, color=BLUE if fits else VERMILLION)
    left.text(0, tile / KIB / 2, f"tile of {KEYS} keys", ha="center", va="center", fontsize=10, color=ink_on(ORANGE))
    left.text(0.34, (tile + block / 2) / KIB, f"{queries} queries", ha="left", va="center", fontsize=10)
    left.axhline(THREADGROUP_BYTES / KIB, color="black", lw=1.4)
    left.text(-0.45, THREADGROUP_BYTES / KIB, "limit", va="bottom", fontsize=10)
    left.set(xlim=(-0.5, 1.0), ylim=(0, max(36, 1.1 * (tile + block) / KIB)), ylabel="threadgroup memory (KiB)", xticks=[])
    left.set_title("fits" if fits else "does not fit")
    x = np.arange(4, 129, 4)
    moved = np.array([moved_bytes(N, N, D, int(n), itemsize=itemsize) for n in x]) / KIB**2
    right.plot(x, moved, color=GREY)
    right.axhline(4 * N * D * itemsize / KIB**2, color="black", lw=1.2)
    right.text(128, 4 * N * D * itemsize / KIB**2, "each number once", ha="right", va="bottom", fontsize=10)
    here = moved_bytes(N, N, D, queries, itemsize=itemsize) / KIB**2
    right.plot([queries], [here], "o", ms=10, color=BLUE if fits else VERMILLION)
    right.annotate(f"{here:,.0f} MiB", (queries, here), xytext=(8, 8), textcoords="offset points", fontsize=11)
    most = largest_block(D, itemsize)
    if most < 128:
        right.axvspan(most + 2, 130, color=PALE, zorder=0)
        right.text(129, moved[len(moved) // 4], "no room", ha="right", fontsize=10, color=GREY)
    right.set_yscale("log", base=2)
    right.yaxis.set_major_formatter(TICKS)
    right.set(xlim=(0, 130), xlabel="queries of a threadgroup", ylabel="moved for one head (MiB)")
    right.grid(axis="y")
    right.set_title(f"{N:,} queries and keys, D = {D}, {8 * itemsize} bits")
    return figure
