"""What a step works on."""

from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from ....techniques.scheduling import Limits, Work, schedule_continuous, schedule_static
from ...exercise import Exercise

schedule = Exercise(
    "continuous_batching.schedule",
    "The scheduler's step",
    name="schedule",
    reference=schedule_continuous,
    names={"mx": mx, "np": np, "Work": Work},
    mistakes={
        "static": (
            "Nobody joins while somebody runs: that is static batching. Whoever waits joins as soon as there "
            "is room, `max_num_seqs - len(running)`."
        ),
        "overfull": "More than `max_num_seqs` requests would run. Only so many join as there is room left.",
        "running_left_out": "A running request gets no work. All that run are in every step, and who joins comes on top.",
        "one_token": (
            "A new request gets one token, and its prompt has more. Work on all of its new tokens, "
            "`request.num_new_tokens`."
        ),
        "whole_text": "A running request gets its whole text again. Its new tokens are `request.num_new_tokens`, one.",
        "newest_first": "Who came later joins first. `waiting` is in the order of arrival: take from its front.",
        "one_at_a_time": "Only one request joins, though there is room for more.",
        "changes_lists": (
            "`waiting` or `running` has changed. A schedule only chooses; the engine moves requests from one "
            "list to the other. Slices and `[*a, *b]` make new lists."
        ),
        "not_work": "Wanted is a list of `Work(request, num_tokens)`.",
        "waiting_first": "Requests that run were left out in favour of waiting ones. Who runs stays.",
    },
)


@dataclass(eq=False)
class _Asked:
    """A request: a name, and how many tokens are not in the cache yet."""

    name: str
    num_new_tokens: int

    def __repr__(self):
        return f"{self.name}({self.num_new_tokens} new)"


def _check(answer, t, waiting, running, max_num_seqs):
    given_waiting, given_running = list(waiting), list(running)
    call = f"schedule(waiting={waiting}, running={running}, max_num_seqs={max_num_seqs})"
    given = answer(given_waiting, given_running, Limits(max_num_seqs))
    t.true(
        given_waiting == waiting and given_running == running,
        f"After {call} waiting is {given_waiting}, running is {given_running}.\nWanted: unchanged.", "changes_lists",
    )  # fmt: skip
    items = given if isinstance(given, (list, tuple)) else []
    works = isinstance(given, (list, tuple)) and all(isinstance(item, Work) for item in items)
    t.true(works, f"{call} is {given!r:.100}.\nWanted: a list of Work(request, num_tokens).", "not_work")
    room = max(max_num_seqs - len(running), 0)
    wanted = [*running, *waiting[:room]]

    def chosen(work):
        return sorted((item.request.name, item.num_tokens) for item in work)

    def as_chosen(requests, tokens=lambda r: r.num_new_tokens):
        return sorted((r.name, tokens(r)) for r in requests)

    names = [item.request for item in items]
    joined = [r for r in names if r in waiting]
    static = schedule_static(waiting, running, Limits(max_num_seqs))
    mistakes = {
        "running_left_out": lambda y: bool(joined) and not any(r in names for r in running) and len(running) > 0
        and len(joined) == len(waiting[:room]),
        "waiting_first": lambda y: any(r not in names for r in running),
        "overfull": lambda y: len(set(names) | set(running)) > max_num_seqs,
        "newest_first": lambda y: bool(joined) and len(joined) == room and set(joined) != set(waiting[:room]),
        "one_at_a_time": lambda y: len(joined) == 1 < len(waiting[:room]),
        "static": lambda y: bool(running) and chosen(items) == chosen(static),
        "one_token": lambda y: any(n < r.num_new_tokens for r, n in items),
        "whole_text": lambda y: any(n > r.num_new_tokens for r, n in items),
    }  # fmt: skip
    t.equal(f"the work of {call}, sorted by name,", chosen(items), as_chosen(wanted), mistakes=mistakes)


def _requests(*lengths, start="a"):
    return [_Asked(chr(ord(start) + i), n) for i, n in enumerate(lengths)]


@schedule.case("all who wait join an empty engine, whole prompts at once")
def _(answer, t):
    _check(answer, t, _requests(5, 3), [], 4)


@schedule.case("running requests get their one new token")
def _(answer, t):
    _check(answer, t, [], _requests(1, 1, 1), 4)


@schedule.case("who waits joins those that run, as far as there is room")
def _(answer, t):
    running, waiting = _requests(1, 1), _requests(7, 2, 4, start="p")
    for limit in (2, 3, 4, 5, 8):
        _check(answer, t, waiting, running, limit)


@schedule.case("more wait than there is room for: first come, first served")
def _(answer, t):
    _check(answer, t, _requests(9, 1, 5, 2), [], 2)
    _check(answer, t, _requests(9, 1, 5, 2), [], 1)


@schedule.case("random states")
def _(answer, t):
    for _ in range(40):
        limit = int(t.rng.integers(1, 7))
        running = _requests(*[1] * int(t.rng.integers(0, limit + 1)))
        waiting = _requests(*t.rng.integers(1, 20, int(t.rng.integers(0, 6))).tolist(), start="p")
        if running or waiting:
            _check(answer, t, waiting, running, limit)
