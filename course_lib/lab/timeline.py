"""Who was worked on when: a Gantt chart of requests over steps, and how full the steps were."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from course_lib.engine.metrics import RequestMetrics, StepRecord

from .serving import Served
from .style import BLUE, ORANGE, VERMILLION, colour_of, new_figure
from .units import axis_scale

WAITS = "#DDDDDD"
NO_EDGE = "none"


def gantt(runs: Mapping[str, Served], *, by_step: bool = False) -> Figure:
    """One panel a run, one above the other, with the same axis: a row a request, a box a step.

    Grey where the request waits, orange where its prompt is read, blue where it decodes. A thin red line
    ends a request.

    Args:
        runs: name -> what came of the load. Of requests with the same numbers.
        by_step: count steps instead of seconds: the picture is then the same on every machine.
    """
    runs = {name: counted_in_steps(served) if by_step else served for name, served in runs.items()}
    rows = max(len(served.requests) for served in runs.values())
    figure, axes = new_figure(
        len(runs) * (0.24 * rows + 0.75) + 0.9, rows=len(runs), sharex=True, squeeze=False
    )
    last = max(request.finish_time for served in runs.values() for request in served.requests)
    scale, unit = (1, "") if by_step else axis_scale(last, "s")
    for axis, (name, served) in zip(axes[:, 0], runs.items(), strict=True):
        _panel(axis, served, scale)
        axis.set_title(name)
        axis.set_ylabel("request")
    axes[-1, 0].set_xlabel("steps" if by_step else f"time ({unit})")
    axes[-1, 0].set_xlim(0, 1.02 * last / scale)
    figure.legend(handles=_legend(), loc="outside lower center", ncols=4, fontsize=10)
    return figure


def _panel(axis: Axes, served: Served, scale: float) -> None:
    for row, request in enumerate(served.requests):
        begin, end = request.arrival_time / scale, request.finish_time / scale
        axis.barh(row, end - begin, left=begin, height=0.72, color=WAITS, edgecolor=NO_EDGE)
        axis.plot([end, end], [row - 0.42, row + 0.42], color=VERMILLION, lw=2, solid_capstyle="butt")
    for colour, boxes in _boxes(served.steps).items():
        rows, starts, widths = np.array(boxes).T
        axis.barh(
            rows, widths / scale, left=starts / scale, height=0.72, color=colour, edgecolor="white", lw=0.5
        )
    axis.set_ylim(len(served.requests) - 0.4, -0.6)
    axis.set_yticks(range(len(served.requests)))
    axis.tick_params(axis="y", length=0, labelsize=9)
    axis.spines["left"].set_visible(False)


def _boxes(steps: Sequence[StepRecord]) -> dict[str, list[tuple[float, float, float]]]:
    """colour -> (request, start, seconds) of each request in each step."""
    begun: set[int] = set()
    boxes: dict[str, list] = {}
    for step in steps:
        for request, _ in step.work:
            colour = BLUE if request in begun else ORANGE
            boxes.setdefault(colour, []).append((request, step.start, step.seconds))
            begun.add(request)
    return boxes


def _legend() -> list[Patch]:
    return [
        Patch(facecolor=WAITS, label="waits"),
        Patch(facecolor=ORANGE, label="its prompt is read"),
        Patch(facecolor=BLUE, label="decodes"),
        Patch(facecolor=VERMILLION, label="has its answer"),
    ]


def occupancy(runs: Mapping[str, Served], max_num_seqs: int) -> Figure:
    """How many requests each step worked on, step by step; the dashed line is how many could have been."""
    figure, axis = new_figure(2.9)
    for i, (name, served) in enumerate(runs.items()):
        counts = [len(step.work) for step in served.steps]
        axis.stairs(counts, color=colour_of(name, i), lw=2.2, label=f"{name}: mean {mean_rows(served):.1f}")
    axis.axhline(max_num_seqs, color="#767676", ls="--", lw=1.2)
    axis.set_ylim(0, 1.25 * max_num_seqs)
    axis.set_xlim(0, 1.02 * max(len(served.steps) for served in runs.values()))
    axis.set_xlabel("steps")
    axis.set_ylabel("requests in the step")
    axis.set_title("How full the steps are")
    axis.legend(loc="upper right", ncols=len(runs), fontsize=11)
    return figure


def counted_in_steps(served: Served) -> Served:
    """The same run on a clock that counts steps: each takes 1, and nothing happens between them."""
    begins = np.array([step.start for step in served.steps])
    ends = np.array([step.start + step.seconds for step in served.steps]) - 1e-9  # sums round

    def ended(time: float) -> float:
        return float(np.searchsorted(ends, time, side="right"))

    requests = [
        RequestMetrics(
            float(np.searchsorted(begins, request.arrival_time, side="left")),
            float(np.searchsorted(begins, request.scheduled_time, side="left")),
            [ended(time) for time in request.token_times],
            ended(request.finish_time),
        )
        for request in served.requests
    ]
    steps = [replace(step, start=float(i), seconds=1.0) for i, step in enumerate(served.steps)]
    return Served(requests, steps, served.generated)


def mean_rows(served: Served) -> float:
    """Requests that a step works on, on average."""
    return sum(len(step.work) for step in served.steps) / len(served.steps)
