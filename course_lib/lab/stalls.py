"""How long do running streams wait while long prompts arrive? Measured on an engine, and drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .serving import Ask, Served
from .style import BLUE, GREY, ORANGE, axes_or_new, ink_of, new_figure
from .units import axis_scale


def prompts_arrive(engine: Any, streams: Sequence[Ask], prompts: Sequence[Ask], after: int = 8) -> Served:
    """Let some streams run, and then let prompts arrive, all at once.

    Args:
        engine: a new `Engine`, in whose steps there is room for all.
        streams: they begin together.
        prompts: they come when the engine has made `after` steps.

    Returns:
        The streams first, then the prompts. Times count from the arrival of the prompts.
    """
    assert not engine.has_unfinished and engine.metrics.num_steps == 0

    def add(ask):
        return engine.add(list(ask.prompt), max_tokens=ask.max_tokens, stop_tokens=())

    requests = [add(ask) for ask in streams]
    for _ in range(after):
        engine.step()
    zero = engine.clock()
    requests += [add(ask) for ask in prompts]
    engine.run()
    number = {request.id: i for i, request in enumerate(requests)}
    steps = [
        replace(step, start=step.start - zero, work=tuple((number[i], n) for i, n in step.work))
        for step in engine.metrics.steps
    ]
    metrics = [
        replace(
            r.metrics,
            arrival_time=r.metrics.arrival_time - zero,
            scheduled_time=r.metrics.scheduled_time - zero,
            token_times=[time - zero for time in r.metrics.token_times],
            finish_time=r.metrics.finish_time - zero,
        )
        for r in requests
    ]
    return Served(metrics, steps, [r.generated for r in requests])


def gaps(served: Served, streams: int) -> tuple[np.ndarray, np.ndarray]:
    """The inter-token latencies of the first `streams` requests.

    Returns:
        When each token came, in seconds after the first prompt's arrival, and how long after the token
        before it; both [N], in the order of the streams.
    """
    zero = served.requests[streams].arrival_time
    times = [np.array(request.token_times) - zero for request in served.requests[:streams]]
    return np.concatenate([t[1:] for t in times]), np.concatenate([np.diff(t) for t in times])


def longest_gap(served: Served, streams: int) -> float:
    """The longest inter-token latency of the streams after the first prompt has arrived, in seconds."""
    when, gap = gaps(served, streams)
    return float(gap[when > 0].max())


def first_token(served: Served, streams: int) -> float:
    """The time to first token of the first prompt, in seconds."""
    return served.requests[streams].time_to_first_token


def token_gaps(runs: Mapping[str, Served], streams: int) -> Figure:
    """A dot for each token of the streams: when it came, and how long after the one before it.

    Args:
        runs: name -> what came of it, a panel each, with the same axes.
        streams: how many of the requests are streams; the next one is the prompt that arrives.
    """
    figure, axes = new_figure(3.3, columns=len(runs), sharex=True, sharey=True, squeeze=False)
    found = {name: gaps(served, streams) for name, served in runs.items()}
    scale, unit = axis_scale(max(gap.max() for _, gap in found.values()), "s")
    for axis, (name, served) in zip(axes[0], runs.items(), strict=True):
        when, gap = found[name]
        until = first_token(served, streams)
        axis.axvspan(0, until, color=ORANGE, alpha=0.18, linewidth=0)
        axis.plot(when, gap / scale, "o", color=BLUE, markersize=4, alpha=0.6, markeredgewidth=0)
        axis.set_title(name)
        axis.grid(axis="y")
        axis.set_xlabel("time since the prompt arrived (s)")
    axes[0][0].set_ylabel(f"inter-token latency ({unit})")
    axes[0][0].set_ylim(0, 1.2 * max(gap.max() for _, gap in found.values()) / scale)
    _shaded(axes[0][-1])
    return figure


def _shaded(axis: Axes) -> None:
    axis.annotate(
        "shaded: the prompt is read", (0.98, 0.95), xycoords="axes fraction", ha="right", va="top",
        fontsize=10, color=ink_of(ORANGE), fontweight="bold",
    )  # fmt: skip


def trade_off(runs: Mapping[str, Sequence[Served]], streams: int, ax: Axes | None = None) -> Figure:
    """The prompt's time to first token against the streams' longest gap: a point a setting.

    Args:
        runs: name of a setting -> its rounds. Medians are drawn, with the quartiles as thin crosses.
        streams: as in `token_gaps`.
    """
    ax = axes_or_new(ax, 3.8)
    points = {}
    for name, rounds in runs.items():
        measured = [[measure(served, streams) for served in rounds] for measure in (longest_gap, first_token)]
        points[name] = [np.quantile(values, (0.25, 0.5, 0.75)) for values in measured]
    x_scale, x_unit = axis_scale(max(p[0][1] for p in points.values()), "s")
    y_scale, y_unit = axis_scale(max(p[1][1] for p in points.values()), "s")
    middle = np.array([[p[0][1] / x_scale, p[1][1] / y_scale] for p in points.values()])
    ax.plot(*middle.T, "-", color=GREY, lw=1.2, zorder=1)
    ax.plot(*middle.T, "o", color=BLUE, markersize=7, zorder=2)
    for (name, (gap, first)), (x, y) in zip(points.items(), middle, strict=True):
        ax.plot(gap[[0, 2]] / x_scale, [y, y], color=BLUE, lw=1.2)
        ax.plot([x, x], first[[0, 2]] / y_scale, color=BLUE, lw=1.2)
        ax.annotate(name, (x, y), xytext=(7, 6), textcoords="offset points", fontsize=11, color=ink_of(BLUE), fontweight="bold")
    ax.grid()
    ax.set_xlim(0, 1.15 * middle[:, 0].max())
    ax.set_ylim(0, 1.2 * middle[:, 1].max())
    ax.set_xlabel(f"longest inter-token latency of the streams ({x_unit})")
    ax.set_ylabel(f"the prompt's time to first token ({y_unit})")
    ax.set_title("What the streams gain, the prompt waits")
    return ax.figure
