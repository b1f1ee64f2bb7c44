"""A scoreboard: what an engine is made of, and how fast it is beside others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .plots import bars
from .style import GREY, VERMILLION, new_figure

WIDE = 9.5  # inches


@dataclass(frozen=True)
class Row:
    """One part.

    Attributes:
        name: of the place.
        does: what a part does there.
        is_yours: the learner's, or the reference's.
        checks: "7 of 7"; "" where nothing was checked.
        origin: where it was written.
    """

    name: str
    does: str
    is_yours: bool
    checks: str = ""
    origin: str = ""


def scoreboard(
    rows: Sequence[Row], speeds: Mapping[str, float], spread: Mapping[str, tuple[float, float]] | None = None
) -> Figure:
    """The parts as a list; and if there are any, speeds as bars below it.

    Args:
        speeds: name -> generated tokens a second.
        spread: name -> (low, high).
    """
    list_height = 0.29 * len(rows) + 0.75
    if not speeds:
        figure, top = new_figure(list_height, width=WIDE)
        _list(top, rows)
        return figure
    bars_height = 0.45 * len(speeds) + 1.1
    figure = Figure(figsize=(WIDE, list_height + bars_height), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=[list_height, bars_height])
    _list(top.subplots(), rows)
    bars(speeds, spread=spread, quantity="generated", unit="tokens/s", title="How fast it is", ax=bottom.subplots())
    return figure


# Where the columns begin, in inches; the last one ends there.
COLUMNS = {"part": 0.25, "does": 1.75, "whose": 4.2, "from": 5.5, "cases": 9.2}


def _list(axis: Axes, rows: Sequence[Row]) -> None:
    for place, row in enumerate(rows):
        colour = VERMILLION if row.is_yours else GREY
        axis.add_patch(Rectangle((0, place + 0.15), 0.13, 0.7, color=colour, alpha=1 if row.is_yours else 0.45, lw=0))
        texts = {
            "part": (row.name, {"fontfamily": "DejaVu Sans Mono"}),
            "does": (row.does, {"color": "#444444"}),
            "whose": ("yours" if row.is_yours else "the reference", {"color": colour, "weight": "bold" if row.is_yours else "normal"}),
            "from": (row.origin, {"color": "#444444"}),
            "cases": (row.checks, {"color": "#444444", "ha": "right"}),
        }
        for column, (text, options) in texts.items():
            axis.text(COLUMNS[column], place + 0.5, text, va="center", fontsize=10, **options)
    for column, x in COLUMNS.items():
        axis.text(x, -0.3, column, va="center", ha="right" if column == "cases" else "left", fontsize=10, color=GREY)
    count = sum(row.is_yours for row in rows)
    axis.set_title(f"{count} of {len(rows)} parts are yours")
    axis.set_xlim(-0.05, COLUMNS["cases"] + 0.1)
    axis.set_ylim(len(rows) + 0.1, -0.7)
    axis.axis("off")
