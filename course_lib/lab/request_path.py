"""One request's whole path through an engine: the queue, its steps, its blocks, its tokens.

`trace` runs an engine and writes down what happens to a request in each step; `request_path` draws it.
"""

from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from .style import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, YELLOW, ink_on, new_figure

QUEUE, STEPPED_BACK = "#DDDDDD", "#F4C7AE"
BLOCKS = [BLUE, ORANGE, GREEN, PURPLE, SKY, YELLOW, VERMILLION]


@dataclass(frozen=True)
class Moment:
    """One step, from a request's point of view.

    Attributes:
        tokens: of the request in the step: 0 while it waits.
        others: tokens of all others in the step.
        computed: of its tokens in the cache after the step.
        blocks: numbers of its blocks after the step; where it ended, those that it had before.
        piece: what it said in this step; None where it got no token.
        preempted: had it to step back in this step?
        waits: does it wait?
    """

    tokens: int
    others: int
    computed: int
    blocks: tuple[int, ...]
    piece: str | None
    preempted: bool
    waits: bool


@dataclass(frozen=True)
class Path:
    """What happened to a request, from its arrival to its end.

    Attributes:
        moments: one a step, from the first after its arrival.
        prompt: tokens of its prompt.
        cached: of them, tokens that the cache knew already when it joined.
        first_step: how many steps the engine had made before.
    """

    moments: tuple[Moment, ...]
    prompt: int
    cached: int
    first_step: int


def trace(engine: Any, requests: list[Any], tokenizer: Any) -> list[Path]:
    """Run an engine until it has nothing left to do.

    Args:
        engine: with a paged cache, and these requests in it.

    Returns:
        The path of each request.
    """
    before = engine.metrics.num_steps
    moments: list[list[Moment]] = [[] for _ in requests]
    while engine.has_unfinished:
        known = [_state(request) for request in requests]
        held = [engine.blocks_of(request) for request in requests]
        engine.step()
        work = dict(engine.metrics.steps[-1].work)
        for i, request in enumerate(requests):
            said, preemptions, was_finished = known[i]
            if was_finished:
                continue
            tokens = work.get(request.id, 0)
            new = request.generated[said:]
            ended = "" if request.finished and not new else None
            piece = tokenizer.decode(new) if new else ended
            blocks = engine.blocks_of(request) or (held[i] if request.finished else [])
            moments[i].append(
                Moment(
                    tokens, sum(work.values()) - tokens, request.num_computed_tokens, tuple(blocks), piece,
                    request.metrics.num_preemptions > preemptions, tokens == 0 and not request.finished and not blocks,
                )
            )  # fmt: skip
    return [
        Path(tuple(found), len(request.prompt), request.metrics.num_cached_tokens, before)
        for found, request in zip(moments, requests, strict=True)
    ]


def _state(request: Any) -> tuple[int, int, bool]:
    return len(request.generated), request.metrics.num_preemptions, request.finished


def request_path(path: Path, title: str | None = None, width: float = 10) -> Figure:
    """Three rows over the same steps: what it did and said, how its blocks came, who shared the steps."""
    blocks = max((len(m.blocks) for m in path.moments), default=1) or 1
    heights = [1.15, 0.26 * blocks + 0.5, 1.3]
    figure, axes = new_figure(sum(heights) + 1.1, width=width, rows=3, sharex=True, height_ratios=heights)
    _life(axes[0], path)
    _blocks(axes[1], path, blocks)
    _company(axes[2], path)
    axes[2].set_xlabel("step")
    axes[2].set_xlim(0.4, len(path.moments) + 0.6)
    axes[2].xaxis.get_major_locator().set_params(integer=True)
    axes[0].set_title(title or "One request, from its arrival to its last token")
    handles = [
        Patch(facecolor=QUEUE, label="waits"), Patch(facecolor=ORANGE, label="reads its prompt"),
        Patch(facecolor=BLUE, label="writes a token"),
    ]  # fmt: skip
    if any(m.preempted for m in path.moments):
        handles.append(Patch(facecolor=VERMILLION, label="steps back"))
    handles.append(Patch(facecolor=GREY, label="the other requests"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=10)
    return figure


def _life(axis: Axes, path: Path) -> None:
    for step, moment in enumerate(path.moments, start=1):
        colour = _colour(moment)
        axis.add_patch(Rectangle((step - 0.46, 0), 0.92, 1, facecolor=colour, lw=0))
        if moment.tokens > 1:
            axis.text(step, 0.5, str(moment.tokens), ha="center", va="center", fontsize=9, color=ink_on(colour))
        if moment.piece:
            axis.text(step, 1.12, repr(moment.piece)[1:-1], ha="left", va="bottom", fontsize=8, rotation=38, color="#333333")
    axis.set_ylim(0, 2.6)
    axis.set_yticks([])
    axis.spines["left"].set_visible(False)
    axis.set_ylabel("does, says", fontsize=10)


def _colour(moment: Moment) -> str:
    if moment.preempted:
        return VERMILLION
    if moment.waits:
        return QUEUE
    if moment.tokens > 1 or moment.piece is None:
        return ORANGE if moment.tokens else QUEUE
    return BLUE


def _blocks(axis: Axes, path: Path, count: int) -> None:
    for step, moment in enumerate(path.moments, start=1):
        for place, block in enumerate(moment.blocks):
            colour = BLOCKS[place % len(BLOCKS)]
            axis.add_patch(Rectangle((step - 0.46, place + 0.06), 0.92, 0.88, facecolor=colour, lw=0, alpha=0.9))
            first = step == 1 or block not in path.moments[step - 2].blocks
            if first:
                axis.text(step, place + 0.5, str(block), ha="center", va="center", fontsize=8, color=ink_on(colour))
    axis.set_ylim(0, count)
    axis.set_yticks([])
    axis.set_ylabel("its blocks", fontsize=10)


def _company(axis: Axes, path: Path) -> None:
    steps = range(1, len(path.moments) + 1)
    own = [m.tokens for m in path.moments]
    others = [m.others for m in path.moments]
    axis.bar(steps, own, width=0.92, color=[_colour(m) for m in path.moments])
    axis.bar(steps, others, width=0.92, bottom=own, color=GREY)
    axis.set_ylabel("tokens\nin the step", fontsize=10)
