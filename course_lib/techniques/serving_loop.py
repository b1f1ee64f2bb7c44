"""The loop of a serving engine: admit, run one step, finish, refill.

The whole of iteration-level scheduling (Orca, https://www.usenix.org/conference/osdi22/presentation/yu)
in a page. The loop knows neither the model nor the clock: a batch runs the steps, a schedule chooses what
is in them, and whoever calls `step` says what time it is. `course_lib.engine` is the same loop with
everything that a server needs besides.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from course_lib.techniques.scheduling import Limits, Work


@dataclass(eq=False)
class Request:
    """What somebody asks, and how far it has come.

    Attributes:
        prompt: token ids.
        max_tokens: most tokens to generate.
        arrival_time: when it comes.
        stop_tokens: ids that end it; they are not part of the answer.
        generated: ids of the answer so far.
        finish_reason: "stop", "length" or "cancelled" once it has ended.
        num_computed_tokens: tokens that are in the KV cache.
    """

    prompt: Sequence[int]
    max_tokens: int
    arrival_time: float = 0.0
    stop_tokens: Collection[int] = ()
    generated: list[int] = field(default_factory=list)
    finish_reason: str | None = None
    num_computed_tokens: int = 0

    @property
    def num_new_tokens(self) -> int:
        """Tokens that are not in the KV cache yet: the prompt at first, then one."""
        return len(self.prompt) + len(self.generated) - self.num_computed_tokens

    def next_tokens(self, count: int) -> list[int]:
        """The first `count` of them."""
        start = self.num_computed_tokens
        return [*self.prompt, *self.generated][start : start + count]


class Batch(Protocol):
    """Runs steps. It has a row for each request that has joined and not left."""

    def join(self, request: Request) -> None: ...
    def leave(self, request: Request) -> None: ...
    def run(self, work: Sequence[Work]) -> dict[Request, int]:
        """One pass. Returns the next token of each request whose new tokens are now all computed."""


class ServingLoop:
    """Serves requests that come and go.

    Args:
        batch: runs the steps.
        schedule: chooses what a step works on, with the signature of `techniques.scheduling`.
        limits: handed to the schedule.

    Attributes:
        waiting: requests without a row, by arrival time.
        running: requests with one.
    """

    def __init__(self, batch: Batch, schedule: Callable[..., list[Work]], limits: Limits) -> None:
        self.batch, self.schedule, self.limits = batch, schedule, limits
        self.waiting: list[Request] = []
        self.running: list[Request] = []

    def add(self, request: Request) -> None:
        """Take a request. It may come later, by its arrival time; equal times keep their order."""
        self.waiting.append(request)
        self.waiting.sort(key=lambda waits: waits.arrival_time)

    def cancel(self, request: Request) -> None:
        """End a request now, wherever it is; one that has ended stays as it is."""
        if request.finish_reason is None:
            self._end(request, "cancelled")

    def step(self, now: float) -> None:
        """Run one step at this time. Nothing is run while nobody is there."""
        arrived = [request for request in self.waiting if request.arrival_time <= now]
        if not (arrived or self.running):
            return
        work = self.schedule(arrived, self.running, self.limits)
        for request, _ in work:
            if request not in self.running:
                self.waiting.remove(request)
                self.running.append(request)
                self.batch.join(request)
        for request, token in self.batch.run(work).items():
            if token in request.stop_tokens:
                self._end(request, "stop")
                continue
            request.generated.append(token)
            if len(request.generated) == request.max_tokens:
                self._end(request, "length")

    def _end(self, request: Request, reason: str) -> None:
        request.finish_reason = reason
        if request in self.running:
            self.running.remove(request)
            self.batch.leave(request)
        else:
            self.waiting.remove(request)
