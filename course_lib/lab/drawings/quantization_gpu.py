"""Drawings of notebook 03: who is who in a launch, which memory belongs to whom, sums over lanes, and tiles."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from ..style import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, ink_on, new_figure

SHADES = [BLUE, ORANGE, GREEN, PURPLE]
PALE = {BLUE: "#B8D6EA", ORANGE: "#F7DFB0", GREEN: "#B3DFD2", PURPLE: "#EBCADB"}


def launch_picture(threadgroups, simdgroups, lanes) -> Figure:
    """A grid of threads, as the threads themselves report it: a cell a thread with its lane.

    Args:
        threadgroups: number of each thread's threadgroup, [rows, columns]; simdgroups in it and lanes likewise.
    """
    groups, simds, lane = (np.array(a) for a in (threadgroups, simdgroups, lanes))
    rows, columns = groups.shape
    figure, ax = new_figure(0.62 * rows + 1.3, width=11)
    for r in range(rows):
        for c in range(columns):
            colour = SHADES[groups[r, c] % len(SHADES)]
            shade = colour if simds[r, c] % 2 == 0 else PALE[colour]
            ax.add_patch(Rectangle((c, r), 1, 1, facecolor=shade, edgecolor="white", lw=0.6))
            ax.text(c + 0.5, r + 0.5, str(lane[r, c]), ha="center", va="center", fontsize=6.5, color=ink_on(shade))
    for r in range(rows):
        for c in range(columns):
            if c + 1 < columns and groups[r, c] != groups[r, c + 1]:
                ax.plot([c + 1, c + 1], [r, r + 1], color="black", lw=2.5)
            if r + 1 < rows and groups[r, c] != groups[r + 1, c]:
                ax.plot([c, c + 1], [r + 1, r + 1], color="black", lw=2.5)
    for group in np.unique(groups):
        at = np.argwhere(groups == group)
        top, (left, right) = at[:, 0].min(), (at[:, 1].min(), at[:, 1].max() + 1)
        if top == 0:
            ax.text((left + right) / 2, -0.15, f"threadgroups with x = {left // (right - left)}", ha="center", va="bottom", fontsize=11)
    ax.set_xlim(0, columns)
    ax.set_ylim(rows, -0.6)
    ax.set_xlabel("x of the thread in the grid")
    ax.set_ylabel("y")
    ax.set_yticks(np.arange(rows) + 0.5, range(rows))
    ax.set_xticks(np.arange(0, columns, 8) + 0.5, range(0, columns, 8))
    for spine in ax.spines.values():
        spine.set_visible(False)
    return figure


def memories() -> Figure:
    """The three memories of a GPU, by who shares them, how large and how far they are."""
    figure, ax = new_figure(4.0, width=9)
    ax.set(xlim=(0, 10), ylim=(0, 6.6))
    ax.axis("off")
    for group in range(2):
        left = 0.2 + 4.9 * group
        _box(ax, left, 2.05, 4.7, 4.3, GREEN, f"threadgroup {group}")
        for simd in range(2):
            x = left + 0.2 + 2.2 * simd
            _box(ax, x, 3.65, 2.1, 2.2, BLUE, f"SIMD-group {simd}")
            for lane in range(4):
                ax.add_patch(Rectangle((x + 0.14 + 0.47 * lane, 3.85), 0.4, 0.85, facecolor=SKY, edgecolor="white"))
                ax.text(x + 0.34 + 0.47 * lane, 4.27, "regs" if lane < 3 else "...", ha="center", va="center", fontsize=8)
            ax.text(x + 1.05, 4.95, "32 lanes, registers each", ha="center", fontsize=8.5)
        ax.add_patch(Rectangle((left + 0.2, 2.25), 4.3, 1.1, facecolor="#B3DFD2", edgecolor="white"))
        ax.text(left + 2.35, 2.8, "threadgroup memory, up to 32 KiB:\nshared by the threadgroup, on the core", ha="center", va="center", fontsize=9)
    ax.add_patch(Rectangle((0.2, 0.25), 9.6, 1.25, facecolor="#F7DFB0", edgecolor="white"))
    ax.text(5, 0.87, "device memory: gigabytes, shared by all, far away; reached through caches in lines of 128 bytes", ha="center", va="center", fontsize=10)
    for x in (2.55, 7.45):
        ax.annotate("", (x, 1.55), (x, 2.2), arrowprops={"arrowstyle": "<->", "color": GREY, "lw": 1.5})
    return figure


def _box(ax, x, y, width, height, colour, words) -> None:
    ax.add_patch(FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0.02", facecolor="none", edgecolor=colour, lw=2))
    ax.text(x + 0.12, y + height - 0.12, words, ha="left", va="top", fontsize=9.5, color=colour, weight="bold")


def shuffle_sum(values: Sequence[float]) -> Figure:
    """A sum over lanes by shuffles: in each step a lane adds what the lane at a distance has, and the distance halves.

    Args:
        values: one a lane; a power of two of them.
    """
    now = np.array(values, float)
    far, steps = len(now) // 2, [(0, now)]
    while far:
        now = now + now[np.arange(len(now)) ^ far]
        steps.append((far, now))
        far //= 2
    figure, ax = new_figure(0.85 * len(steps) + 0.7, width=8)
    for row, (distance, numbers) in enumerate(steps):
        for lane, number in enumerate(numbers):
            shade = BLUE if row == len(steps) - 1 else "#DCE9F3"
            ax.add_patch(Rectangle((lane, 1.6 * row), 0.86, 0.8, facecolor=shade))
            ax.text(lane + 0.43, 1.6 * row + 0.4, f"{number:g}", ha="center", va="center", fontsize=11, color=ink_on(shade))
            if distance:
                for source in (lane, lane ^ distance):
                    colour, width = (VERMILLION, 1.2) if source != lane else (GREY, 0.8)
                    ax.annotate("", (lane + 0.43, 1.6 * row), (source + 0.43, 1.6 * (row - 1) + 0.8), arrowprops={"arrowstyle": "-", "color": colour, "lw": width})
        words = f"after a shuffle by {distance}" if distance else "each lane's own"
        ax.text(len(numbers) + 0.15, 1.6 * row + 0.4, words, va="center", fontsize=10.5)
    ax.set_xlim(-0.1, len(values) + 3.2)
    ax.set_ylim(1.6 * len(steps) - 0.6, -0.6)
    for lane in range(len(values)):
        ax.text(lane + 0.43, -0.12, f"lane {lane}", ha="center", va="bottom", fontsize=9, color=GREY)
    ax.axis("off")
    return figure


def tile_step(M: int, N: int, K: int, tile: int, place: tuple[int, int], step: int) -> Figure:
    """One step of one threadgroup: which tiles of x and w it has read, and where their product goes.

    Args:
        M, N, K: x is [M, K], w [N, K], y [M, N].
        tile: of tokens, of rows and of K.
        place: (row, column) of the threadgroup's tile in y.
        step: along K.
    """
    figure, ax = new_figure(4.2, width=9)
    gap = 0.12 * (K + N)
    matrices = {"x [M, K]": (0, 0, K, M), "y [M, N]": (K + gap, 0, N, M), "w transposed [K, N]": (K + gap, -K - gap, N, K)}
    for name, (left, top, width, height) in matrices.items():
        ax.add_patch(Rectangle((left, top), width, height, facecolor="#EEEEEE", edgecolor="white"))
        for x in range(0, width, tile):
            ax.plot([left + x] * 2, [top, top + height], color="white", lw=1)
        for y in range(0, height, tile):
            ax.plot([left, left + width], [top + y] * 2, color="white", lw=1)
        ax.text(left + width / 2, top + height + 0.02 * (K + N), name, ha="center", va="top", fontsize=11)
    row, column = place[0] * tile, place[1] * tile
    for k in range(step + 1):
        alpha = 1 if k == step else 0.3
        ax.add_patch(Rectangle((k * tile, row), tile, min(tile, M - row), facecolor=BLUE, alpha=alpha))
        ax.add_patch(Rectangle((K + gap + column, -K - gap + k * tile), min(tile, N - column), tile, facecolor=ORANGE, alpha=alpha))
    ax.add_patch(Rectangle((K + gap + column, row), min(tile, N - column), min(tile, M - row), facecolor=GREEN))
    ax.text(-0.02 * K, row + tile / 2, f"step {step}", ha="right", va="center", fontsize=11)
    ax.set_xlim(-0.16 * K, K + gap + N)
    ax.set_ylim(M + 0.1 * (K + N), -K - gap)
    ax.set_aspect("equal")
    ax.axis("off")
    return figure
