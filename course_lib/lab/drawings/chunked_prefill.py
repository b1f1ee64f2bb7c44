"""Drawings of notebook 07: the mask of a prompt in chunks, and what a mixed step computes."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..style import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, ink_of, ink_on, new_figure

PALE = "#F2F2F2"
CHUNKS = (ORANGE, GREEN, PURPLE, SKY)


def mask_in_chunks(tokens: int = 8, chunk: int = 3) -> Figure:
    """The causal mask of a prompt, whole and in chunks: a row a query, a column a key.

    Args:
        tokens: of the prompt.
        chunk: tokens a chunk; the last chunk is what is left.
    """
    figure, axes = new_figure(3.4, columns=2)
    for axis, size in zip(axes, (tokens, chunk), strict=True):
        for query in range(tokens):
            part = query // size
            end = min((part + 1) * size, tokens)
            for key in range(tokens):
                seen = key <= query
                colour = (BLUE if size == tokens else CHUNKS[part % len(CHUNKS)]) if seen else PALE
                if key < end:
                    axis.add_patch(
                        Rectangle((key + 0.05, query + 0.05), 0.9, 0.9, facecolor=colour, edgecolor="#BBBBBB", lw=0.6)
                    )
        for start in range(0, tokens, size):
            end = min(start + size, tokens)
            axis.add_patch(Rectangle((0, start), end, end - start, fill=False, edgecolor="black", lw=1.6))
            axis.text(
                end + 0.25, (start + end) / 2, f"{end - start} × {end}", ha="left", va="center", fontsize=11
            )
        axis.set_title("whole" if size == tokens else f"in chunks of {chunk}", loc="center", fontsize=12)
        axis.set(xlim=(-0.9, tokens + 2.2), ylim=(tokens + 0.9, -0.3), aspect="equal")
        axis.axis("off")
        axis.text(-0.35, tokens / 2, "queries", rotation=90, ha="center", va="center", fontsize=10)
        axis.text(tokens / 2, tokens + 0.55, "keys", ha="center", va="center", fontsize=10)
    return figure


def mixed_step(pieces: Sequence[tuple[str, int, int]]) -> Figure:
    """One pass over the tokens of several requests.

    Args:
        pieces: (name, tokens held, tokens in this step) of each request.
    """
    total = sum(count for _, _, count in pieces)
    figure, axis = new_figure(3.5)
    at = 0
    for i, (name, held, count) in enumerate(pieces):
        colour = BLUE if count == 1 else CHUNKS[i % len(CHUNKS)]
        for token in range(count):
            _box(axis, at + token, 0, 1, 0.8, colour, str(held + token))
        axis.text(at + count / 2, -0.2, name, ha="center", va="bottom", fontsize=10, color=ink_of(colour))
        L, S = count, held + count
        # As wide as the request's share of the step: neighbours do not touch.
        axis.add_patch(
            Rectangle((at + 0.06, 2.35), count - 0.12, 0.95, facecolor=colour, alpha=0.25, edgecolor=colour)
        )
        axis.text(at + count / 2, 2.82, f"{L}×{S}", ha="center", va="center", fontsize=10)
        at += count
    _box(axis, 0, 1.2, total, 0.8, GREY, "projections and RoPE: all rows together, each weight read once")
    _box(axis, 0, 3.65, total, 0.8, GREY, "output projection and MLP: all rows together")
    for y, words in ((0.4, "position"), (2.82, "attention")):
        axis.text(-0.25, y, words, ha="right", va="center", fontsize=10)
    axis.set(xlim=(-2.3, total + 0.1), ylim=(4.6, -0.9))
    axis.axis("off")
    return figure


def _box(axis: Axes, x: float, y: float, width: float, height: float, colour: str, words: str) -> None:
    axis.add_patch(Rectangle((x + 0.04, y), width - 0.08, height, facecolor=colour, edgecolor="white"))
    axis.text(x + width / 2, y + height / 2, words, ha="center", va="center", fontsize=10, color=ink_on(colour))
