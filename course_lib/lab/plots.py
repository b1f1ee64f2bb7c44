"""The course's charts: bars to compare, lines to follow, a breakdown to see where it all goes.

Every chart names its quantity and unit, labels its data where it is rather than in a legend, and returns the
figure: `show(bars(...), alt="...")` displays it. Pass `ax` to draw into a figure of several charts.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from .labels import fit_segment_labels, label_ends
from .picture import Picture, show
from .style import axes_or_new, colour_of, colours_of, new_figure
from .units import axis_scale, number_text, tick_text, value_text

TICKS = FuncFormatter(lambda value, _: tick_text(value))

__all__ = ["bars", "breakdown", "lines", "new_figure", "show", "Picture"]


def bars(
    values: Mapping[str, float],
    *,
    quantity: str,
    unit: str,
    spread: Mapping[str, tuple[float, float]] | None = None,
    relative_to: str | None = None,
    title: str | None = None,
    log: bool = False,
    ax: Axes | None = None,
) -> Figure:
    """Horizontal bars, one a name, from top to bottom, each with its value.

    Args:
        values: name -> value. Seconds and bytes are given as such; the axis finds the unit that fits.
        quantity: what is shown: `"time a token"`.
        unit: `"s"`, `"bytes"`, or any other, which is shown as it is; `""` for a bare number.
        spread: name -> (low, high), drawn as a thin line on the bar: quartiles, say.
        relative_to: one of the names; the others then say how many times less or more they are.
        title: what to see.
        log: logarithmic axis. Bars then have no true length: prefer it off.
        ax: axes to draw into; None makes a figure.

    Raises:
        ValueError: no values, or `relative_to` is not one of them.
    """
    if not values:
        raise ValueError("bars was given nothing to show.")
    if relative_to is not None and relative_to not in values:
        raise ValueError(f"relative_to={relative_to!r} is none of the bars: {', '.join(values)}.")
    ax = axes_or_new(ax, 0.45 * len(values) + 1.05 + 0.25 * bool(title))
    scale, shown_unit = axis_scale(max(map(abs, values.values())), unit)
    for i, (name, value) in enumerate(values.items()):
        ax.barh(i, value / scale, height=0.62, color=colour_of(name, 0))
        end = value
        if spread and name in spread:
            low, high = spread[name]
            ax.plot([low / scale, high / scale], [i, i], color="black", lw=1.6, solid_capstyle="butt")
            end = max(value, high)
        text = value_text(value, unit) + _less_or_more(value, relative_to and values[relative_to])
        ax.annotate(
            text, (end / scale, i), xytext=(5, 0), textcoords="offset points", va="center", fontsize=11
        )
    ax.set_yticks(range(len(values)), list(values))
    ax.tick_params(axis="y", length=0, labelsize=12)
    ax.set_ylim(len(values) - 0.5, -0.5)
    ax.spines["left"].set_visible(False)
    ax.grid(axis="x")
    if log:
        _log_bars(ax)
    ax.xaxis.set_major_formatter(TICKS)
    _finish(ax, x=(quantity, shown_unit), title=title)
    return ax.figure


def lines(
    x: Sequence[float],
    series: Mapping[str, Sequence[float]],
    *,
    x_quantity: str,
    x_unit: str,
    quantity: str,
    unit: str,
    bands: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
    title: str | None = None,
    log_x: bool = False,
    log_y: bool = False,
    ax: Axes | None = None,
) -> Figure:
    """One line a series, named at its right end.

    Args:
        x: shared by all series, [N], ascending.
        series: name -> values, [N]; NaN where there is none.
        x_quantity: what the x axis shows, with its `x_unit`.
        quantity: what the y axis shows, with its `unit` (`"s"` and `"bytes"` as in `bars`).
        bands: name of a series -> (low, high), each [N], shaded behind its line.
        title: what to see.
        log_x: logarithmic x axis, with a tick at each x if they are powers of two.
        log_y: logarithmic y axis. Without it the y axis begins at zero, unless values are negative.
        ax: axes to draw into; None makes a figure.

    Raises:
        ValueError: no series, or one whose length is not that of x.
    """
    if not series:
        raise ValueError("lines was given no series to show.")
    x = np.asarray(x, float)
    data = {name: np.asarray(values, float) for name, values in series.items()}
    for name, values in data.items():
        if values.shape != x.shape:
            raise ValueError(f"Series {name!r} has {values.size} values, x has {x.size}: give as many.")
    ax = axes_or_new(ax, 3.6)
    scale, shown_unit = axis_scale(max(np.nanmax(np.abs(v)) for v in data.values()), unit)
    marker = "o" if len(x) <= 12 else None
    ends = []
    for (name, values), colour in zip(data.items(), colours_of(data), strict=True):
        ax.plot(x, values / scale, color=colour, marker=marker)
        if bands and name in bands:
            low, high = (np.asarray(edge, float) / scale for edge in bands[name])
            ax.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
        last = np.flatnonzero(np.isfinite(values))[-1]
        ends.append((name, x[last], values[last] / scale, colour))
    ax.grid(axis="y")
    if log_x:
        _log_x(ax, x)
    if log_y:
        ax.set_yscale("log")
    ax.xaxis.set_major_formatter(TICKS)
    ax.yaxis.set_major_formatter(TICKS)
    if not log_y and min(np.nanmin(v) for v in data.values()) >= 0:
        ax.set_ylim(bottom=0)
    _finish(ax, x=(x_quantity, x_unit), y=(quantity, shown_unit), title=title)
    label_ends(ax, ends)
    return ax.figure


def breakdown(
    rows: Mapping[str, Mapping[str, float]],
    *,
    quantity: str,
    unit: str,
    title: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Where it all goes: one bar a row, made of its parts, each part named where it lies.

    Args:
        rows: name of the row -> part -> value. A part has the same colour in every row.
        quantity: what is shown, with its `unit` (`"s"` and `"bytes"` as in `bars`).
        title: what to see.
        ax: axes to draw into; None makes a figure.

    Raises:
        ValueError: no rows, or a negative part.
    """
    if not rows or not all(rows.values()):
        raise ValueError("breakdown was given nothing to show: it needs rows, each with parts.")
    negative = [p for parts in rows.values() for p, v in parts.items() if v < 0]
    if negative:
        raise ValueError(f"Parts of a whole cannot be negative: {', '.join(negative)}.")
    ax = axes_or_new(ax, 0.95 * len(rows) + 0.95 + 0.25 * bool(title))
    scale, shown_unit = axis_scale(max(sum(parts.values()) for parts in rows.values()), unit)
    order = list(dict.fromkeys(part for parts in rows.values() for part in parts))
    colours = {part: colour_of(part, i) for i, part in enumerate(order)}
    segments = []
    for i, parts in enumerate(rows.values()):
        whole, left = sum(parts.values()), 0.0
        for part, value in parts.items():
            width = value / scale
            ax.barh(i, width, left=left, height=0.5, color=colours[part], edgecolor="white", linewidth=1)
            share = f"{100 * value / whole:.0f} %" if whole else ""
            segments.append((i, left, width, part, share, colours[part]))
            left += width
        ax.annotate(
            value_text(whole, unit),
            (left, i),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=11,
        )
    ax.set_yticks(range(len(rows)), list(rows))
    ax.tick_params(axis="y", length=0, labelsize=12)
    ax.set_ylim(len(rows) - 0.55, -0.75)
    ax.spines["left"].set_visible(False)
    ax.xaxis.set_major_formatter(TICKS)
    _finish(ax, x=(quantity, shown_unit), title=title)
    fit_segment_labels(ax, segments)
    return ax.figure


def _less_or_more(value: float, base: float | None) -> str:
    if base is None or not base or not value or value == base:
        return ""
    less, more = base / value, value / base
    return f"  ({number_text(less)} times less)" if less > 1 else f"  ({number_text(more)} times more)"


def _log_bars(ax: Axes) -> None:
    ax.set_xscale("log")
    low, high = ax.get_xlim()
    steps = (1.0,) if high / low > 100 else (1.0, 2.0, 5.0)  # a tick a decade, more where there are few decades
    ax.xaxis.set_major_locator(LogLocator(subs=steps))
    ax.xaxis.set_minor_formatter(NullFormatter())


def _log_x(ax: Axes, x: np.ndarray) -> None:
    ax.set_xscale("log", base=2)
    ax.xaxis.set_minor_formatter(NullFormatter())
    exponents = np.log2(x[x > 0])
    if len(x) <= 12 and np.allclose(exponents, np.round(exponents)):
        ax.xaxis.set_major_locator(FixedLocator(x))
    ax.xaxis.set_minor_locator(NullLocator())


def _finish(ax: Axes, x: tuple[str, str], y: tuple[str, str] | None = None, title: str | None = None) -> None:
    ax.set_xlabel(_with_unit(*x))
    if y is not None:
        ax.set_ylabel(_with_unit(*y))
    if title:
        ax.set_title(title)


def _with_unit(quantity: str, unit: str) -> str:
    return f"{quantity} ({unit})" if unit else quantity
