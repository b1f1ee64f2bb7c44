"""How much of a KV cache is reserved, and how much of that holds tokens? A load played on a block manager.

No model runs: a step reads the prompts of those that join, and gives everybody else one token. What is counted
are slots, each with room for one token's keys and values.

A contiguous cache is the special case of one block a request, as long as the longest request may become.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from course_lib.techniques.paged_kv import OutOfBlocks

from .serving import Ask


def skewed_load(
    count: int, *, typical: int = 60, longest: int = 500, shared: int = 0, every: float = 2.0, seed: int = 0
) -> list[Ask]:
    """Requests as users send them: most are short, a few are long.

    Lengths of prompts and of answers are log-normal, each with the median `typical`.

    Args:
        count: number of requests.
        longest: prompt and answer together are cut to so many tokens, `shared` not counted.
        shared: tokens of a system prompt that stands before all of them.
        every: mean steps between two arrivals, which come at random times.
    """
    random = np.random.default_rng(seed)
    lengths = np.exp(random.normal(np.log(typical), 0.8, (count, 2))).astype(int) + 1
    arrivals = np.floor(np.cumsum(random.exponential(every, count)))
    system = tuple(range(1, shared + 1))
    asks = []
    for i, (prompt, answer) in enumerate(lengths.tolist()):
        prompt = min(prompt, longest - 1)
        own = tuple(random.integers(1_000_000, 2_000_000, prompt).tolist())  # nobody else's
        asks.append(Ask(system + own, min(answer, longest - prompt), float(arrivals[i])))
    return asks


@dataclass(frozen=True)
class Replay:
    """What a load did to a cache, step by step.

    Attributes:
        reserved: slots in blocks that somebody holds, [steps].
        used: slots of these that hold a token, [steps].
        running: requests that run, [steps].
        preemptions: how often one had to step back.
        computed: tokens that went through the model.
    """

    reserved: np.ndarray
    used: np.ndarray
    running: np.ndarray
    preemptions: int
    computed: int

    @property
    def steps(self) -> int:
        return len(self.running)

    @property
    def waste(self) -> float:
        """The share of the reserved slots that hold nothing, over all steps."""
        return float(1 - self.used.sum() / self.reserved.sum())


@dataclass(eq=False)
class _Request:
    """A request of the load, and where it stands."""

    ask: Ask
    tokens: list[int]
    left: int  # tokens of its answer that are to come
    table: Any = None


def replay(asks: Sequence[Ask], manager: Any) -> Replay:
    """Play a load on a block manager: whoever waits joins when there is room for its prompt.

    When the blocks run out, the newest request steps back and starts over later.

    Args:
        asks: their arrival times count in steps. Each fits into the pool.
        manager: `techniques.paged_kv.BlockManager`, or another with its methods.
    """
    waiting = deque(_Request(ask, list(ask.prompt), ask.max_tokens) for ask in asks)
    running: list[_Request] = []
    counts: dict[str, list[int]] = {"reserved": [], "used": [], "running": []}
    step = preemptions = computed = 0
    while waiting or running:
        for request in list(running):
            if request not in running:
                continue
            while request in running and not _grow(manager, request, 1):
                newest = running.pop()
                manager.free(newest.table)
                waiting.appendleft(newest)
                preemptions += 1
            computed += request in running
        while waiting and waiting[0].ask.arrival_time <= step:
            request = waiting[0]
            request.table = manager.new_table(request.tokens)
            missing = len(request.tokens) - request.table.num_tokens
            if not _grow(manager, request, missing):
                manager.free(request.table)
                assert running, "the pool is too small for this request"
                break
            computed += missing
            running.append(waiting.popleft())
        filled: dict[int, int] = {}
        for request in running:
            for index, block in enumerate(request.table.blocks):
                tokens = min(manager.block_size, request.table.num_tokens - index * manager.block_size)
                filled[block] = max(tokens, filled.get(block, 0))
        counts["reserved"].append(len(filled) * manager.block_size)
        counts["used"].append(sum(filled.values()))
        counts["running"].append(len(running))
        for request in list(running):  # the step's token
            request.left -= 1
            request.tokens.append(len(request.tokens))
            if request.left <= 0:
                running.remove(request)
                manager.free(request.table)
        step += 1
    return Replay(
        **{name: np.array(values) for name, values in counts.items()},
        preemptions=preemptions,
        computed=computed,
    )


def _grow(manager: Any, request: _Request, count: int) -> bool:
    """Room for the request's next tokens."""
    full = request.table.num_full
    try:
        manager.append(request.table, count)
    except OutOfBlocks:
        return False
    if request.table.num_full > full:
        manager.remember(request.table, request.tokens)
    return True


def at_once(asks: Sequence[Ask]) -> list[Ask]:
    """The same requests, all there at the start."""
    return [replace(ask, arrival_time=0.0) for ask in asks]
