"""What a load does to those who wait: throughput and latency against the arrival rate, and one load closely."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from .labels import label_ends
from .serving import Served
from .style import colour_of, new_figure
from .units import axis_scale, seconds_text


def load_curves(
    rates: Sequence[float],
    runs: Mapping[str, Sequence[Served]],
    dots: Mapping[str, Sequence[Served]] | None = None,
    percentile: float = 90,
) -> Figure:
    """Left generated tokens a second, right end-to-end latency, both against requests a second.

    Args:
        rates: requests a second, ascending.
        runs: name -> one run a rate, drawn as lines: the median, and shaded up to the percentile.
        dots: the same of other runs, drawn as hollow dots: the median alone.
        percentile: of the latency.
    """
    figure, (left, right) = new_figure(3.6, width=9, columns=2)
    everything = [run for many in [*runs.values(), *(dots or {}).values()] for run in many]
    scale, unit = axis_scale(max(run.latency(percentile) for run in everything), "s")
    ends = {"left": [], "right": []}
    marker = "o" if len(rates) < 6 else None
    for i, (name, lined) in enumerate(runs.items()):
        colour = colour_of(name, i)
        speeds = [run.tokens_per_second for run in lined]
        median, high = ([run.latency(p) / scale for run in lined] for p in (50, percentile))
        left.plot(rates, speeds, color=colour, marker=marker)
        right.plot(rates, median, color=colour, marker=marker)
        right.fill_between(rates, median, high, color=colour, alpha=0.16, linewidth=0)
        ends["left"].append((name, rates[-1], speeds[-1], colour))
        ends["right"].append((name, rates[-1], median[-1], colour))
        for axis, values in (
            (left, [run.tokens_per_second for run in (dots or {}).get(name, [])]),
            (right, [run.latency(50) / scale for run in (dots or {}).get(name, [])]),
        ):
            axis.plot(rates[: len(values)], values, "o", color=colour, mfc="white", ms=8, mew=2, zorder=3)
    left.set_title("Throughput")
    left.set_ylabel("generated (tokens/s)")
    right.set_title(f"Latency: median, shaded to {percentile:g} %")
    right.set_ylabel(f"from arrival to last token ({unit})")
    for axis in (left, right):
        axis.set_xlabel("arrivals (requests/s)")
        axis.set_ylim(bottom=0)
        axis.set_xlim(left=0)
        axis.grid(axis="y")
    label_ends(left, ends["left"])
    label_ends(right, ends["right"])
    return figure


def one_load(runs: Mapping[str, Served], title: str) -> Figure:
    """Left which share of the requests has its answer within how long, right how many wait for a row, over time."""
    figure, (left, right) = new_figure(3.7, width=9, columns=2)
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    longest = max(run.latency(100) for run in runs.values())
    scale, unit = axis_scale(longest, "s")
    time_scale, time_unit = axis_scale(max(run.seconds for run in runs.values()), "s")
    for i, (name, run) in enumerate(runs.items()):
        colour = colour_of(name, i)
        waited = np.sort([request.end_to_end_latency for request in run.requests]) / scale
        shares = np.arange(1, len(waited) + 1) / len(waited) * 100
        note = f"{name}: median {seconds_text(run.latency(50))}, 90 % {seconds_text(run.latency(90))}"
        left.step(waited, shares, where="post", color=colour, label=note)
        right.step(
            [step.start / time_scale for step in run.steps], [step.num_waiting for step in run.steps], where="post",
            color=colour, lw=1.4,
        )  # fmt: skip
    left.set_xlabel(f"from arrival to last token ({unit})")
    left.set_ylabel("requests (%)")
    left.set_xlim(0, longest / scale)
    left.set_ylim(0, 102)
    right.set_xlabel(f"time ({time_unit})")
    right.set_ylabel("waiting for a row (requests)")
    right.set_ylim(bottom=0)
    right.set_xlim(left=0)
    for axis in (left, right):
        axis.grid(axis="y")
    figure.legend(loc="outside lower center", ncols=2, fontsize=10)
    return figure
