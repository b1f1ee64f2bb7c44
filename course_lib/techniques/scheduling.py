"""Which requests a step of the engine works on, and on how many tokens of each.

A request has tokens (its prompt, then what it has generated) and some of them are in the KV cache
already. The rest are its new tokens: all of the prompt at first, one in each step afterwards. A
schedule picks from the requests that run and those that wait; it decides nothing else, so it can be
tried on made-up requests without a model.

- `schedule_static`: a batch runs until its last request has finished; then the next batch is formed.
- `schedule_continuous`: whoever waits joins in the very next step in which there is room
  (Orca, https://www.usenix.org/conference/osdi22/presentation/yu).
- `schedule_chunked`: the same with a budget of tokens a step. Running requests spend it first, a token
  each; what is left goes to prompts, in pieces (Sarathi-Serve, https://arxiv.org/abs/2403.02310).

All are first come, first served.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol


class Schedulable(Protocol):
    """What a schedule knows of a request."""

    num_new_tokens: int  # tokens that are not in the KV cache yet, at least 1


class Work(NamedTuple):
    """A request's share of a step: its next `num_tokens` new tokens."""

    request: Any
    num_tokens: int


@dataclass(frozen=True)
class Limits:
    """What a step may not exceed, named as vLLM names it.

    Attributes:
        max_num_seqs: requests that run at the same time.
        max_num_batched_tokens: tokens a step works on; None for no limit.
        long_prefill_token_threshold: tokens of one prompt that a step works on; None for no limit.

    Raises:
        ValueError: a limit below 1, or fewer tokens than requests: a step must have a token for each
            request that runs.
    """

    max_num_seqs: int = 8
    max_num_batched_tokens: int | None = None
    long_prefill_token_threshold: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_num_seqs", "max_num_batched_tokens", "long_prefill_token_threshold"):
            value = getattr(self, name)
            optional = name != "max_num_seqs"
            if value is None and optional:
                continue
            if type(value) is not int or value < 1:
                raise ValueError(f"{name}={value!r}; wanted an integer, at least 1{', or None' * optional}")
        budget = self.max_num_batched_tokens
        if budget is not None and budget < self.max_num_seqs:
            raise ValueError(
                f"max_num_batched_tokens={budget} is below max_num_seqs={self.max_num_seqs}: "
                "a step must have a token for each running request"
            )


def schedule_static(
    waiting: Sequence[Schedulable], running: Sequence[Schedulable], limits: Limits
) -> list[Work]:
    """One batch after the other: who waits joins only when nobody runs.

    Args:
        waiting: requests that have arrived, in the order of their arrival.
        running: requests in the batch.
        limits: `max_num_seqs` counts.

    Returns:
        What the step works on. A waiting request joins by being in it.
    """
    batch = running or waiting[: limits.max_num_seqs]
    return [Work(request, request.num_new_tokens) for request in batch]


def schedule_continuous(
    waiting: Sequence[Schedulable], running: Sequence[Schedulable], limits: Limits
) -> list[Work]:
    """Whoever waits joins as soon as there is room, its whole prompt in one step.

    Args, returns: as `schedule_static`.
    """
    room = limits.max_num_seqs - len(running)
    return [Work(request, request.num_new_tokens) for request in [*running, *waiting[:room]]]


def schedule_chunked(
    waiting: Sequence[Schedulable], running: Sequence[Schedulable], limits: Limits
) -> list[Work]:
    """Decoding first, then prompts, in pieces that fit the budget.

    Each running request with one new token gets it, always. The rest of `max_num_batched_tokens` goes
    to the prompts that have been begun, then to those that wait while there is room, each in the order
    of arrival and none with more than `long_prefill_token_threshold`.

    Args, returns: as `schedule_static`; all limits count.
    """
    budget = limits.max_num_batched_tokens
    most = limits.long_prefill_token_threshold
    work = [Work(request, 1) for request in running if request.num_new_tokens == 1]
    left = None if budget is None else budget - len(work)
    room = limits.max_num_seqs - len(running)
    for request in [*(r for r in running if r.num_new_tokens > 1), *waiting[:room]]:
        pieces = [request.num_new_tokens, *(limit for limit in (left, most) if limit is not None)]
        if min(pieces) < 1:
            break
        work.append(Work(request, min(pieces)))
        left = None if left is None else left - min(pieces)
    return work
