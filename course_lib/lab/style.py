"""The course's one look for figures: colours that everyone can tell apart, type that survives shrinking.

Colours are those of Okabe and Ito, "Color Universal Design" (https://jfly.uni-koeln.de/color/). Figures keep
a white ground of their own, so that they read the same in JupyterLab's light and dark themes.
"""

import itertools
import re
from collections.abc import Iterable

import matplotlib
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILLION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
GREY = "#767676"

# The same contender has the same colour in every notebook.
ROLES = {"naive": GREY, "yours": VERMILLION, "reference": BLUE, "mlx": GREEN, "stock": GREEN}
# Yellow is left for areas: as a line on white it can hardly be seen.
CYCLE = [BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, BLACK]

WIDTH = 7.0  # inches
DPI = 110

RC = {
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "axes.prop_cycle": cycler(color=CYCLE),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.titlelocation": "left",
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "axes.labelsize": 12,
    "axes.axisbelow": True,
    "font.size": 12,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.8,
    "lines.linewidth": 2.2,
    "lines.markersize": 5,
    "legend.frameon": False,
    # A font that matplotlib itself ships, so that a figure looks the same on every machine.
    "font.family": "DejaVu Sans",
}

# On import: a notebook's own drawings are to look like the rest of the course without being asked.
matplotlib.rcParams.update(RC)


def new_figure(height: float = 3.4, width: float = WIDTH, rows: int = 1, columns: int = 1, **subplots):
    """A figure in the course's style, and its axes.

    It does not belong to pyplot: it appears where `show` is called, and only there.

    Args:
        height: inches; `width` likewise.
        rows: of axes; `columns` likewise.
        **subplots: passed on to `Figure.subplots`, for example `sharey=True`.

    Returns:
        The figure, and its axes: one Axes, or an array of them if there are several.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, **subplots)


def colour_of(name: str, index: int) -> str:
    """The colour of a series: by its role if its name begins with one, else the next in turn."""
    return _role(name) or CYCLE[index % len(CYCLE)]


def colours_of(names: Iterable[str]) -> list[str]:
    """Colours of series that are drawn together: those with a role have its colour, the others those left over."""
    names = list(names)
    taken = [colour_of(name, 0) for name in names if _role(name)]
    others = itertools.cycle([colour for colour in CYCLE if colour not in taken] or CYCLE)
    return [colour_of(name, 0) if _role(name) else next(others) for name in names]


def _role(name: str) -> str | None:
    return ROLES.get(re.match(r"[a-z]*", name.lower()).group())


def ink_on(colour: str) -> str:
    """Black or white, whichever reads better on `colour`."""
    return "black" if _lightness(colour) > 0.5 else "white"


def ink_of(colour: str) -> str:
    """`colour` itself, or a darker shade of it where text in it could hardly be read on white."""
    shade = min(1.0, 0.45 / max(_lightness(colour), 1e-9))
    return to_hex([part * shade for part in to_rgb(colour)])


def _lightness(colour: str) -> float:
    red, green, blue = to_rgb(colour)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def axes_or_new(ax: Axes | None, height: float) -> Axes:
    """`ax` itself, or the axes of a new figure where there is none."""
    return new_figure(height)[1] if ax is None else ax
