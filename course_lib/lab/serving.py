"""A load on a serving engine: who asks what and when, what came of it, and the same simulated.

A simulation runs the same schedules on a clock of its own, which each step moves on by what a step of so
many tokens was measured to take. It answers at once, for loads that would take minutes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx
import numpy as np

from course_lib.engine.metrics import RequestMetrics, StepRecord
from course_lib.techniques.scheduling import Limits
from course_lib.techniques.serving_loop import Request, ServingLoop

# How far below the best a greedy token's logit may lie where a batch rounds differently from one row.
MARGIN = {mx.float32: 1e-3, mx.float16: 5e-2, mx.bfloat16: 0.4}


@dataclass(frozen=True)
class Ask:
    """A request of a load.

    Attributes:
        prompt: token ids.
        max_tokens: tokens of the answer; nothing ends it earlier.
        arrival_time: seconds after the load's start.
    """

    prompt: Sequence[int]
    max_tokens: int
    arrival_time: float = 0.0


def make_load(
    tokens: Sequence[int], count: int, *, prompt_lengths: tuple[int, int], answer_lengths: tuple[int, int],
    seed: int = 0,
) -> list[Ask]:  # fmt: skip
    """Requests of random lengths, all there at the start.

    Args:
        tokens: a text to cut the prompts from, each at a random place.
        count: number of requests.
        prompt_lengths: least and most tokens; `answer_lengths` likewise.
    """
    random = np.random.default_rng(seed)
    asks = []
    for _ in range(count):
        length = int(random.integers(*prompt_lengths, endpoint=True))
        start = int(random.integers(0, len(tokens) - length, endpoint=True))
        answer = int(random.integers(*answer_lengths, endpoint=True))
        asks.append(Ask(tuple(tokens[start : start + length]), answer))
    return asks


def poisson_arrivals(rate: float, count: int, seed: int = 0) -> np.ndarray:
    """Arrival times of requests that come independently of each other, [count], in seconds, ascending.

    Args:
        rate: requests a second, on average; the gaps between them are exponentially distributed.

    Raises:
        ValueError: a rate that is not above 0.
    """
    if not rate > 0:
        raise ValueError(f"rate={rate!r}; wanted requests a second, above 0")
    return np.cumsum(np.random.default_rng(seed).exponential(1 / rate, count))


def arriving(asks: Sequence[Ask], times: Sequence[float]) -> list[Ask]:
    """The same requests, at these times."""
    return [replace(ask, arrival_time=float(time)) for ask, time in zip(asks, times, strict=True)]


@dataclass(frozen=True)
class Served:
    """What came of a load.

    Attributes:
        requests: the times of each request, in the load's order. They count from the load's start.
        steps: what was run, in order; requests have their number in the load.
        generated: the tokens of each answer; empty where the load was simulated.
    """

    requests: list[RequestMetrics]
    steps: list[StepRecord]
    generated: list[list[int]]

    @property
    def seconds(self) -> float:
        """From the first arrival to the last token."""
        return max(r.finish_time for r in self.requests) - min(r.arrival_time for r in self.requests)

    @property
    def tokens_per_second(self) -> float:
        """Generated tokens a second, from the first arrival to the last token."""
        return sum(len(r.token_times) for r in self.requests) / self.seconds

    def latency(self, percentile: float, kind: str = "end_to_end_latency") -> float:
        """A percentile over the requests, in seconds: half of them had to wait less than `latency(50)`.

        Args:
            kind: "end_to_end_latency", "time_to_first_token" or "queue_time".
        """
        return float(np.percentile([getattr(request, kind) for request in self.requests], percentile))


def run_load(engine: Any, asks: Sequence[Ask]) -> Served:
    """Serve a load with an engine, in real time."""
    start = engine.clock()
    requests = [
        engine.add(
            list(ask.prompt), max_tokens=ask.max_tokens, stop_tokens=(), arrival_time=start + ask.arrival_time
        )
        for ask in asks
    ]
    before = engine.metrics.num_steps
    engine.run()
    number = {request.id: i for i, request in enumerate(requests)}
    steps = list(engine.metrics.steps)[before - engine.metrics.num_steps :]
    steps = [
        replace(step, start=step.start - start, work=tuple((number[i], n) for i, n in step.work))
        for step in steps
    ]
    return Served([_from(r.metrics, start) for r in requests], steps, [r.generated for r in requests])


def _from(metrics: RequestMetrics, start: float) -> RequestMetrics:
    return RequestMetrics(
        metrics.arrival_time - start,
        metrics.scheduled_time - start,
        [time - start for time in metrics.token_times],
        metrics.finish_time - start,
    )


class StepCost:
    """The time of a step by the number of its tokens, between and beyond those that were measured.

    Args:
        seconds: number of tokens -> seconds, at least two.
    """

    def __init__(self, seconds: Mapping[int, float]) -> None:
        if len(seconds) < 2:
            raise ValueError("wanted the times of at least two numbers of tokens")
        self.tokens = np.array(sorted(seconds), float)
        # More tokens never take less time; where it was measured so, the machine was busy.
        self.seconds = np.maximum.accumulate([seconds[n] for n in sorted(seconds)])

    def __call__(self, tokens: int) -> float:
        """Seconds for a step of so many tokens."""
        x, y = self.tokens, self.seconds
        if tokens > x[-1]:
            return float(y[-1] + (tokens - x[-1]) * (y[-1] - y[0]) / (x[-1] - x[0]))
        return float(np.interp(tokens, x, y))


def simulate(
    asks: Sequence[Ask], schedule: Callable, limits: Limits, cost: Callable[[int], float], order=None
) -> Served:
    """Serve a load on a simulated clock.

    Args:
        schedule: with the signature of `techniques.scheduling`.
        cost: seconds for a step of so many tokens.
        order: `order(waiting, now)` says in which order those that wait are offered to the schedule; None
            for first come, first served.
    """
    clock = _Clock()
    requests = [Request(ask.prompt, ask.max_tokens, ask.arrival_time) for ask in asks]
    batch = _SimulatedBatch(requests, clock, cost)

    def ordered(waiting, running, limits):
        return schedule(order(waiting, clock.now) if order else waiting, running, limits)

    loop = ServingLoop(batch, ordered, limits)
    for request in requests:
        loop.add(request)
    while loop.waiting or loop.running:
        if not loop.running:
            clock.now = max(clock.now, loop.waiting[0].arrival_time)
        steps = len(batch.steps)
        loop.step(clock.now)
        assert len(batch.steps) > steps, "the schedule returned no work, though requests are there"
        batch.close_step(sum(r.arrival_time <= batch.steps[-1].start for r in loop.waiting))
    metrics = [batch.metrics[id(request)] for request in requests]
    for found in metrics:
        found.finish_time = found.token_times[-1]
    return Served(metrics, batch.steps, [])


class _Clock:
    now = 0.0


class _SimulatedBatch:
    """Says token 0 for everybody, and moves the clock."""

    def __init__(self, requests, clock, cost) -> None:
        self.metrics = {id(r): RequestMetrics(r.arrival_time) for r in requests}
        self.number = {id(r): i for i, r in enumerate(requests)}
        self.clock, self.cost = clock, cost
        self.steps: list[StepRecord] = []

    def join(self, request) -> None:
        self.metrics[id(request)].scheduled_time = self.clock.now

    def leave(self, request) -> None:
        pass

    def run(self, work):
        start = self.clock.now
        self.clock.now += self.cost(sum(count for _, count in work))
        spoken = []
        for request, count in work:
            if count == request.num_new_tokens:
                spoken.append(request)
                self.metrics[id(request)].token_times.append(self.clock.now)
            request.num_computed_tokens += count
        named = tuple((self.number[id(request)], count) for request, count in work)
        self.steps.append(
            StepRecord(
                start=start, seconds=self.clock.now - start, work=named, num_generated=len(spoken), num_waiting=0,
                num_preempted=0, cache_bytes=0,
            )
        )  # fmt: skip
        return dict.fromkeys(spoken, 0)

    def close_step(self, num_waiting: int) -> None:
        self.steps[-1] = replace(self.steps[-1], num_waiting=num_waiting)


def shortfall(model: Any, prompt: Sequence[int], generated: Sequence[int]) -> float:
    """How far the logits of greedy tokens lie below the best, at most; computed alone, without a cache.

    0 where each token is what the model says alone. A batch may round differently, and then rightly choose
    another of two tokens whose logits are all but equal: compare with `MARGIN[model.dtype]`.
    """
    if not generated:
        return 0.0
    logits = model(mx.array([[*prompt, *generated]]))[0, len(prompt) - 1 : -1]  # [generated, V]
    chosen = mx.take_along_axis(logits, mx.array(list(generated))[:, None], axis=-1)[:, 0]
    return float(mx.max(logits.max(axis=-1) - chosen).item())


def says_the_same(model: Any, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> bool:
    """Is each answer what the model says to its prompt alone, up to rounding?"""
    pairs = zip(prompts, answers, strict=True)
    return all(shortfall(model, prompt, answer) <= MARGIN[model.dtype] for prompt, answer in pairs)
