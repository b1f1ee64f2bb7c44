"""Who gets room in the cache for a step's tokens, and who steps back.

Admission looks at the tokens that a request has, not at those that it will have, so that many may run; then
all grow, and at some step the blocks do not suffice. **Preemption**: the newest request gives all of its
blocks back and waits again; prompt and answer so far are later read as one prompt. So the oldest always goes
on, and somebody always gets done.

Source: vLLM, https://arxiv.org/abs/2309.06180, section 4.5 (recomputation); `Scheduler.schedule` and
`_preempt_request` in https://github.com/vllm-project/vllm/blob/main/vllm/v1/core/sched/scheduler.py
"""

from collections.abc import Sequence
from typing import Any, Protocol

from course_lib.techniques.scheduling import Work


class Cache(Protocol):
    """Where requests have room."""

    def join(self, request: Any, count: int) -> bool:
        """Take a request that is not here, with room for `count` of its tokens; False if there is none.

        What it begins with may be here already: `request.num_new_tokens` can be less afterwards.
        """

    def reserve(self, request: Any, count: int) -> bool:
        """Room for `count` more tokens of a request that is here; False if there is none, and nothing changed."""

    def leave(self, request: Any) -> None:
        """Give back all that a request has."""


def make_room(work: Sequence[Work], running: Sequence[Any], cache: Cache) -> tuple[list[Work], list[Any]]:
    """Find room for a step's tokens.

    Running requests come first, the oldest before the newer ones. Where one finds no room, the newest
    that still runs leaves the cache, and so on until there is room or it was itself the newest. Requests
    that wait join in order while there is room, none past one that found none, and none at all in a step in
    which somebody had to step back.

    Args:
        work: what the schedule wants, each request at most once; those that do not run are to join.
        running: the oldest first; stays as it is.
        cache: with the methods of `Cache`.

    Returns:
        What the step can work on: running requests, then those that joined. And who stepped back, in the order
        in which they did.
    """
    counts = {id(request): count for request, count in work}
    fits, stays, preempted = [], list(running), []
    for request in running:
        count = counts.pop(id(request), 0)
        if not count or request not in stays:
            continue
        while not cache.reserve(request, count):
            preempted.append(stays.pop())
            cache.leave(preempted[-1])
            if preempted[-1] is request:
                break
        else:
            fits.append(Work(request, count))
    for request, count in work:
        if id(request) not in counts:
            continue  # it runs
        if preempted or not cache.join(request, count):
            break
        fits.append(Work(request, min(count, request.num_new_tokens)))
    return fits, preempted
