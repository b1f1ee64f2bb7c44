"""The roofline: how fast can a computation be that does so much arithmetic for each byte it reads?

A machine does at most `compute` operations a second and reads at most `bandwidth` bytes a second. Work of
intensity I operations a byte therefore runs at most at min(compute, I * bandwidth). Left of the ridge, where
the two are equal, only fewer bytes help; right of it, only faster arithmetic.

Williams, Waterman, Patterson, "Roofline", https://doi.org/10.1145/1498765.1498785
"""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from .style import GREY, axes_or_new, colour_of
from .plots import TICKS


def attainable(intensity, compute: float, bandwidth: float):
    """Operations a second that the machine allows at this intensity.

    Args:
        intensity: operations a byte, a number or an array.
        compute: operations a second.
        bandwidth: bytes a second.
    """
    return np.minimum(compute, np.asarray(intensity, float) * bandwidth)


def matmul_intensity(M: float, bits_per_weight: float) -> float:
    """Operations a byte of M tokens times a weight matrix, if only the weights are read from memory: each
    serves one multiplication and one addition a token."""
    return 2 * M / (bits_per_weight / 8)


def roofline(points: Mapping[str, tuple[float, float]], *, compute: float, bandwidth: float, title: str | None = None, ax=None) -> Figure:
    """The roof, and where measured work lies below it.

    Args:
        points: name -> (operations a byte, operations a second).
        compute: the best operations a second that were measured.
        bandwidth: bytes a second that were measured.
    """
    ax = axes_or_new(ax, 3.8)
    intensities = [i for i, _ in points.values()]
    # What was reached is allowed: a busy moment while the roof was measured does not put points above it.
    compute = max([compute, *(rate for _, rate in points.values())])
    low, high = min([*intensities, 0.25]) / 2, max([*intensities, compute / bandwidth]) * 4
    x = np.geomspace(low, high, 200)
    ax.plot(x, attainable(x, compute, bandwidth) / 1e9, color=GREY, lw=2)
    ridge = compute / bandwidth
    ax.axvline(ridge, color=GREY, lw=1, ls=":")
    ax.annotate("bound by memory", (ridge, 0.02), xycoords=("data", "axes fraction"), xytext=(-8, 0), textcoords="offset points", ha="right", color=GREY, fontsize=10)
    ax.annotate("by arithmetic", (ridge, 0.02), xycoords=("data", "axes fraction"), xytext=(8, 0), textcoords="offset points", color=GREY, fontsize=10)
    for i, (name, (intensity, rate)) in enumerate(points.items()):
        colour = colour_of(name, i)
        ax.plot([intensity], [rate / 1e9], "o", color=colour, ms=7)
        right = intensity < ridge * 2  # names stay inside of the axes
        ax.annotate(name, (intensity, rate / 1e9), xytext=(9 if right else -9, -4), textcoords="offset points", ha="left" if right else "right", color=colour, fontsize=10.5)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(low, high)
    ax.set_ylim(bottom=min(rate for _, rate in points.values()) / 4e9)  # the lowest name clears the labels below
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(TICKS)
        axis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("operations for each byte read")
    ax.set_ylabel("GFLOP/s")
    ax.grid(True)
    if title:
        ax.set_title(title)
    return ax.figure
