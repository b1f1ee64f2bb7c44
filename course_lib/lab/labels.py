"""Put names where the data is, and keep them from covering each other."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from .style import ink_of, ink_on

FONT = 11
LINE_HEIGHT = 1.25


def label_ends(ax: Axes, ends: Sequence[tuple[str, float, float, str]]) -> None:
    """Write each name right of its line's end, moved up or down where two would overlap.

    Args:
        ax: with its limits and scales set.
        ends: (name, x, y, colour) of each line's last point.
    """
    texts = [
        ax.annotate(
            name, (x, y), xytext=(7, 0), textcoords="offset points", va="center", color=ink_of(colour),
            fontsize=FONT, fontweight="bold", annotation_clip=False,
        )
        for name, x, y, colour in ends
    ]  # fmt: skip
    # Where a point lies on the page is known only once the layout has been worked out.
    ax.figure.draw_without_rendering()
    points = 72 / ax.figure.dpi
    # A line that ends on the x axis has its name above it: the axis would strike it through.
    lowest = ax.bbox.y0 * points + 0.7 * FONT
    at = [float(ax.transData.transform((x, y))[1]) * points for _, x, y, _ in ends]
    for text, old, new in zip(texts, at, spread_out([max(y, lowest) for y in at], FONT * LINE_HEIGHT), strict=True):
        text.set_position((7, new - old))


def fit_segment_labels(ax: Axes, segments: Sequence[tuple[int, float, float, str, str, str]]) -> None:
    """Name each segment of stacked bars: inside where the name fits, else above with a thin line to it.

    Args:
        ax: with its limits set.
        segments: (row, left, width, name, share, colour), in data units.
    """
    ax.figure.draw_without_rendering()
    points = 72 / ax.figure.dpi
    per_unit = (ax.transData.transform((1, 0))[0] - ax.transData.transform((0, 0))[0]) * points
    outside: dict[int, list[tuple[float, float, str, str]]] = {}
    for row, left, width, name, share, colour in segments:
        middle, room = left + width / 2, width * per_unit - 6
        if _width(name) <= room:
            text = f"{name}\n{share}"
            ax.text(
                middle,
                row,
                text,
                ha="center",
                va="center",
                fontsize=FONT,
                color=ink_on(colour),
                linespacing=1.1,
            )
        elif width:
            text = f"{name} {share}"
            outside.setdefault(row, []).append((middle * per_unit, _width(text), text, colour))
    for row, small in outside.items():
        wanted = [at for at, _, _, _ in small]
        widths = [width for _, width, _, _ in small]
        for (at, _, text, colour), new in zip(small, spread_out(wanted, 8, widths), strict=True):
            ax.annotate(
                text, (at / per_unit, row - 0.25), xytext=(new - at, 13), textcoords="offset points",
                ha="center", va="bottom", fontsize=FONT - 1,
                arrowprops={"arrowstyle": "-", "color": colour, "shrinkA": 0, "shrinkB": 0, "linewidth": 1.2},
            )  # fmt: skip


def spread_out(wanted: Sequence[float], gap: float, sizes: Sequence[float] | None = None) -> list[float]:
    """Positions as near as can be to those wanted, with room between neighbours.

    Neighbours that would overlap become one block, which is centred on where its members wanted to be; blocks
    that meet are joined in turn.

    Args:
        wanted: centres, in any order.
        gap: least distance between the edges of two neighbours.
        sizes: extent of each; None stands for points.

    Returns:
        New centres, in the order of `wanted`.
    """
    sizes = [0.0] * len(wanted) if sizes is None else list(sizes)
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    blocks: list[list[int]] = []
    for i in order:
        blocks.append([i])
        while len(blocks) > 1 and _overlap(blocks[-2], blocks[-1], wanted, gap, sizes):
            last = blocks.pop()
            blocks[-1] += last
    result = [0.0] * len(wanted)
    for block in blocks:
        for i, at in zip(block, _centres(block, wanted, gap, sizes), strict=True):
            result[i] = at
    return result


def _centres(block, wanted, gap, sizes) -> list[float]:
    offsets = [0.0]
    for a, b in zip(block, block[1:], strict=False):
        offsets.append(offsets[-1] + sizes[a] / 2 + gap + sizes[b] / 2)
    start = sum(wanted[i] - o for i, o in zip(block, offsets, strict=True)) / len(block)
    return [start + o for o in offsets]


def _overlap(left, right, wanted, gap, sizes) -> bool:
    a, b = left[-1], right[0]
    end = _centres(left, wanted, gap, sizes)[-1] + sizes[a] / 2
    return end + gap > _centres(right, wanted, gap, sizes)[0] - sizes[b] / 2


def _width(text: str) -> float:
    # Of DejaVu Sans, near enough for a decision and without a renderer.
    return 0.62 * FONT * len(text)
