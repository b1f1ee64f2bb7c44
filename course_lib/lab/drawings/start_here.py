"""Drawings of notebook 00: the next token's probabilities, and the loop of generation."""

from collections.abc import Sequence

import mlx.core as mx
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from ..style import BLUE, GREEN, GREY, VERMILLION, new_figure

SHOWN = 8


def next_token_bars(logits: mx.array, tokenizer, temperatures: Sequence[float]) -> Figure:
    """The likeliest next tokens with their probabilities, one panel a temperature.

    Args:
        logits: [V].
        tokenizer: its `decode` names the tokens.
        temperatures: each above 0.
    """
    likeliest = np.argsort(-np.array(logits))[:SHOWN]
    names = [repr(tokenizer.decode([int(i)])) for i in likeliest]
    width = 2.0 + 2.1 * len(temperatures)
    figure, axes = new_figure(3.2, width, columns=len(temperatures), sharey=True, squeeze=False)
    for axis, temperature in zip(axes[0], temperatures):
        probabilities = np.array(mx.softmax(logits / temperature))[likeliest]
        axis.barh(range(SHOWN), probabilities, color=BLUE)
        axis.set_title(f"temperature {temperature:g}")
        axis.set_xlabel("probability")
        axis.set_xlim(0, 1.2)
        axis.set_xticks([0, 0.5, 1])
        for row, p in enumerate(probabilities):
            axis.text(p + 0.02, row, f"{p:.2f}", va="center", fontsize=10)
    axes[0][0].set_yticks(range(SHOWN), names)
    axes[0][0].invert_yaxis()
    return figure


def generation_loop() -> Figure:
    """Tokens, model, logits, choice, and back."""
    figure, axis = new_figure(2.4)
    axis.set(xlim=(0, 10), ylim=(0, 3))
    axis.axis("off")
    boxes = [
        (0.1, "tokens so far\n[1, L]", BLUE),
        (2.7, "model\n30 layers", GREY),
        (5.3, "logits\n[1, L, V]", VERMILLION),
        (7.9, "argmax of\nthe last row", GREEN),
    ]
    for left, words, colour in boxes:
        axis.add_patch(
            FancyBboxPatch((left, 1.4), 1.9, 1.1, boxstyle="round,pad=0.05", facecolor="none", edgecolor=colour, lw=2)
        )
        axis.text(left + 0.95, 1.95, words, ha="center", va="center", fontsize=10)
    for left, _, _ in boxes[:-1]:
        axis.add_patch(_arrow((left + 2.0, 1.95), (left + 2.52, 1.95)))
    axis.add_patch(_arrow((8.85, 1.3), (1.05, 1.3), "arc3,rad=-0.25"))
    axis.text(4.95, 0.12, "append the new token, go round again: L grows by one", ha="center", fontsize=10)
    return figure


def _arrow(start, end, bend="arc3") -> FancyArrowPatch:
    return FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=14, lw=1.5, color="0.35", connectionstyle=bend)
