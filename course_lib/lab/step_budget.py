"""What did each step spend its tokens on? A box a step: as wide as it took, as high as it had tokens."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from course_lib.engine.metrics import StepRecord

from .style import BLUE, GREY, GREEN, ORANGE, PURPLE, YELLOW, axes_or_new
from .units import axis_scale

PROMPTS = (ORANGE, GREEN, PURPLE, YELLOW)


def spent(steps: Sequence[StepRecord], prompt_lengths: Sequence[int]) -> list[dict[int | None, int]]:
    """For each step, the tokens of each prompt that it read, and under None those that decoded.

    Args:
        steps: in order, from the first that worked on any of the requests; `work` names requests by number.
        prompt_lengths: tokens of each request's prompt.
    """
    read = [0] * len(prompt_lengths)
    found = []
    for step in steps:
        parts: dict[int | None, int] = {}
        for number, count in step.work:
            # One token can be a chunk or an answer's: what was read before tells.
            of_prompt = min(count, prompt_lengths[number] - read[number])
            read[number] += of_prompt
            if of_prompt:
                parts[number] = of_prompt
            if count > of_prompt:
                parts[None] = parts.get(None, 0) + count - of_prompt
        found.append(parts)
    return found


def step_budget(
    steps: Sequence[StepRecord],
    prompt_lengths: Sequence[int],
    *,
    budget: int | None = None,
    since: float = 0.0,
    title: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """A timeline of steps.

    Args:
        steps, prompt_lengths: as for `spent`.
        budget: drawn as a dashed line.
        since: steps that began earlier are left out; the axis counts from here, in seconds.
        title: what to see.
        ax: axes to draw into; None makes a figure.
    """
    ax = axes_or_new(ax, 3.2)
    parts = spent(steps, prompt_lengths)
    shown = [(step, p) for step, p in zip(steps, parts, strict=True) if step.start >= since]
    scale, unit = axis_scale(max(step.start + step.seconds - since for step, _ in shown), "s")
    order = sorted({number for _, p in shown for number in p if number is not None})
    colours = {number: PROMPTS[i % len(PROMPTS)] for i, number in enumerate(order)}
    for step, p in shown:
        bottom = 0
        for number in [None, *order]:
            if number not in p:
                continue
            ax.bar(
                (step.start - since) / scale, p[number], width=step.seconds / scale, bottom=bottom, align="edge",
                color=BLUE if number is None else colours[number], edgecolor="white", linewidth=0.5,
            )  # fmt: skip
            bottom += p[number]
    handles = [Patch(facecolor=BLUE, label="decode")]
    for i, number in enumerate(order):
        name = "prompt" if len(order) == 1 else f"prompt {i + 1}"
        handles.append(Patch(facecolor=colours[number], label=name))
    if budget is not None:
        ax.axhline(budget, color=GREY, lw=1.4, ls="--", zorder=0)
        handles.append(ax.plot([], [], color=GREY, lw=1.4, ls="--", label=f"budget, {budget}")[0])
    highest = max(*(sum(p.values()) for _, p in shown), budget or 0)
    ax.set_ylim(0, 1.25 * highest)
    ax.legend(handles=handles, loc="upper center", ncols=len(handles), fontsize=10, handlelength=1.4, columnspacing=1.2)
    ax.set_xlabel(f"time since the prompts arrived ({unit})")
    ax.set_ylabel("tokens in the step")
    if title:
        ax.set_title(title)
    return ax.figure
