"""What is counted and timed: for each request, for each step, for the engine.

Times are the engine's clock, in seconds.
"""

from collections import deque
from dataclasses import dataclass, field


@dataclass
class RequestMetrics:
    """When things happened to a request; None for what has not happened yet.

    Attributes:
        arrival_time: when it came.
        scheduled_time: when a step first worked on it.
        token_times: when each of its tokens was known.
        finish_time: when it finished or was cancelled.
        num_cached_tokens: of its prompt, found in the paged cache when it was first scheduled.
        num_preemptions: how often it had to step back for older ones.
    """

    arrival_time: float
    scheduled_time: float | None = None
    token_times: list[float] = field(default_factory=list)
    finish_time: float | None = None
    num_cached_tokens: int = 0
    num_preemptions: int = 0

    @property
    def queue_time(self) -> float | None:
        """From its arrival to the first step that worked on it."""
        return None if self.scheduled_time is None else self.scheduled_time - self.arrival_time

    @property
    def time_to_first_token(self) -> float | None:
        """From its arrival to its first token."""
        return self.token_times[0] - self.arrival_time if self.token_times else None

    @property
    def inter_token_latencies(self) -> list[float]:
        """From each of its tokens to the next."""
        return [late - early for early, late in zip(self.token_times, self.token_times[1:], strict=False)]

    @property
    def end_to_end_latency(self) -> float | None:
        """From its arrival to its end."""
        return None if self.finish_time is None else self.finish_time - self.arrival_time


@dataclass(frozen=True)
class StepRecord:
    """One step.

    Attributes:
        start: when it began.
        seconds: how long it took.
        work: (id of the request, tokens) for each request that it worked on.
        num_generated: tokens that it chose.
        num_waiting: requests that had arrived and were left waiting.
        num_preempted: requests that had to step back.
        cache_bytes: bytes of the cache that were in use at its end.
    """

    start: float
    seconds: float
    work: tuple[tuple[int, int], ...]
    num_generated: int
    num_waiting: int
    num_preempted: int
    cache_bytes: int

    @property
    def num_tokens(self) -> int:
        """Tokens that went through the model."""
        return sum(tokens for _, tokens in self.work)


class EngineMetrics:
    """Totals since the engine was made, and its latest steps.

    Attributes:
        steps (deque[StepRecord]): the latest ones.
        num_steps, num_tokens, num_generated (int): steps, tokens through the model, tokens chosen.
        num_preempted (int): times that a request had to step back.
        busy_seconds (float): time spent in steps.
        num_finished (dict[str, int]): requests that ended, by finish reason.
    """

    def __init__(self, max_num_seqs: int, step_history: int) -> None:
        self.steps: deque[StepRecord] = deque(maxlen=step_history)
        self.num_steps = self.num_tokens = self.num_generated = self.num_preempted = 0
        self.busy_seconds = 0.0
        self.num_finished: dict[str, int] = {}
        self._max_num_seqs = max_num_seqs
        self._requests_in_steps = 0

    def count_step(self, record: StepRecord) -> None:
        self.steps.append(record)
        self.num_steps += 1
        self.num_tokens += record.num_tokens
        self.num_generated += record.num_generated
        self.num_preempted += record.num_preempted
        self.busy_seconds += record.seconds
        self._requests_in_steps += len(record.work)

    def count_end(self, reason: str) -> None:
        self.num_finished[reason] = self.num_finished.get(reason, 0) + 1

    @property
    def tokens_per_second(self) -> float:
        """Generated tokens for each second spent in steps."""
        return self.num_generated / self.busy_seconds if self.busy_seconds else 0.0

    @property
    def batch_occupancy(self) -> float:
        """The mean share of `max_num_seqs` that a step worked on, from 0 to 1."""
        return self._requests_in_steps / (self.num_steps * self._max_num_seqs) if self.num_steps else 0.0
