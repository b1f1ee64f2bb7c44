"""The engine's loop: admit, run one step, finish, refill."""

import mlx.core as mx
import numpy as np

from ....techniques.scheduling import Limits, schedule_continuous
from ....techniques.serving_loop import Request, ServingLoop
from ...exercise import Exercise
from .scripted import NotARow, Scripted

loop = Exercise(
    "continuous_batching.loop",
    "The loop with arrivals",
    name="ServingLoop",
    reference=ServingLoop,
    names={"mx": mx, "np": np},
    mistakes={
        "early": (
            "A request is worked on before it has arrived. Hand the schedule only those of `waiting` with "
            "`arrival_time <= now`."
        ),
        "order": (
            "A request that was added earlier and arrives later was served first. Keep `waiting` in the order "
            "of arrival times (equal ones in the order in which they were added)."
        ),
        "not_joined": (
            "The batch was to run a request that has no row. A request in the work that does not run yet must "
            "join: `batch.join(request)`, once, before the step."
        ),
        "joined_twice": "A request that has its row was to join again. Join only those that do not run yet.",
        "row_leak": (
            "A request has ended and its row is still in use. Give it back: `batch.leave(request)`, in the same "
            "step."
        ),
        "cancel_leak": "A cancelled request that ran still has its row: `batch.leave(request)`.",
        "cancel_waits": "A cancelled request that was waiting is served all the same: take it out of `waiting`.",
        "cancel_no_row": "`cancel` gave back a row of a request that had none: it was still waiting.",
        "cancel_ended": "`cancel` changed a request that had ended already. Then there is nothing to do.",
        "stop_kept": "The stop token is part of the answer. It ends the request and is not appended to `generated`.",
        "too_long": "An answer is longer than `max_tokens`. See whether it is complete right after appending a token.",
        "too_short": "An answer ends before it has `max_tokens` tokens.",
        "still_runs": (
            "A finished request is still in the work of a later step. Take it out of `running` in the step in "
            "which it ends, before the next schedule."
        ),
        "no_reason": 'Set `finish_reason`: "stop" after a stop token, "length" at max_tokens, "cancelled".',
        "empty_step": "The schedule was asked while nobody runs and nobody has arrived. Then return at once.",
        "only_first": (
            "Requests that end in the same step are passed over. Do not take out of a list while a `for` runs over "
            "it."
        ),
        "refill_late": (
            "A row stays free for a step though somebody waits. Those who end leave before the next step's "
            "schedule; those who wait are in it."
        ),
        "own_schedule": "The loop does not ask the schedule it was given: `self.schedule(arrived, self.running, self.limits)`.",
    },
)


def _run(answer, t, requests, limit=2, steps=60, cancel=None, schedule=schedule_continuous):
    """Serve scripted requests, a step a second. Returns the batch, with its diary.

    Args:
        requests: (prompt length, script, max_tokens, arrival time, stop tokens).
        cancel: step -> numbers of the requests to cancel before it.
    """
    batch = Scripted(limit)
    made = [
        Request([7] * prompt, max_tokens, float(arrival), stop)
        for prompt, _, max_tokens, arrival, stop in requests
    ]
    batch.scripts = {id(r): ask[1] for r, ask in zip(made, requests, strict=True)}
    batch.number = {id(r): i for i, r in enumerate(made)}
    asked = []

    def watched(waiting, running, limits):
        asked.append((batch.now, list(waiting), list(running)))
        early = [batch.number[id(r)] for r in waiting if r.arrival_time > batch.now]
        t.true(
            not early,
            f"At time {batch.now:g} the schedule was offered requests {early}, which come later.",
            "early",
        )
        t.true(
            waiting or running,
            f"At time {batch.now:g} the schedule was asked, and nobody was there.",
            "empty_step",
        )
        ended = [batch.number[id(r)] for r in running if r.finish_reason]
        t.true(
            not ended,
            f"At time {batch.now:g} requests {ended} have ended and are still running.",
            "still_runs",
        )
        return schedule(waiting, running, limits)

    serving = answer(batch, watched, Limits(limit))
    for request in made:
        serving.add(request)
    for now in range(steps):
        batch.now = float(now)
        for number in (cancel or {}).get(now, ()):
            _cancel(t, serving, made[number], number, batch)
        seen = len(batch.diary)
        _step(t, serving, batch)
        if len(batch.diary) > seen:
            t.true(
                bool(asked) and asked[-1][0] == batch.now,
                "A step ran that no schedule had chosen.",
                "own_schedule",
            )
    batch.requests, batch.asked = made, asked
    return batch


def _step(t, serving, batch):
    try:
        serving.step(batch.now)
    except NotARow as wrong:
        t.true(False, str(wrong), wrong.mistake)
    for request in batch.rows:
        if request.finish_reason:
            t.true(False, f"Request {batch.number[id(request)]} has ended and keeps its row.", "row_leak")
    left = [r for r in batch.complete if r in batch.rows]
    numbers = [batch.number[id(r)] for r in left]
    if left:
        stopped = any(r.generated and r.generated[-1] in r.stop_tokens for r in left)
        named = "stop_kept" if stopped else "only_first" if len(batch.complete) > len(left) else None
        long = any(len(r.generated) >= r.max_tokens for r in left)
        t.true(
            False, f"At time {batch.now:g} requests {numbers} got their last token, and keep their rows.",
            named or ("too_long" if long else "still_runs"),
        )  # fmt: skip


def _cancel(t, serving, request, number, batch):
    ran, reason, before = request in batch.rows, request.finish_reason, list(request.generated)
    try:
        serving.cancel(request)
    except NotARow as wrong:
        t.true(False, str(wrong), "cancel_ended" if reason else "cancel_no_row")
    if reason:
        same = request.finish_reason == reason and request.generated == before
        t.true(
            same,
            f'Request {number} had ended ("{reason}"); cancelled, it has "{request.finish_reason}".',
            "cancel_ended",
        )
        return
    t.true(
        request not in batch.rows,
        f"Request {number} was cancelled while it ran and keeps its row.",
        "cancel_leak",
    )
    named = "cancel_leak" if ran else "cancel_waits"
    waits = request in getattr(serving, "waiting", ()) or request in getattr(serving, "running", ())
    t.true(not waits, f"Request {number} was cancelled and is still in one of the lists.", named)
    t.equal(
        f"finish_reason of request {number}", request.finish_reason, "cancelled", mistakes={"no_reason": None}
    )


def _answers(t, batch, wanted):
    """Compare answers and reasons: number -> (tokens, reason)."""
    for number, (tokens, reason) in wanted.items():
        request = batch.requests[number]
        given, stop = list(request.generated), list(request.stop_tokens)
        what = f"Request {number} (max_tokens {request.max_tokens}, stop tokens {stop}): its answer"
        t.equal(
            what, given, tokens,
            mistakes={
                "stop_kept": lambda y, stop=stop: bool(stop) and bool(y) and y[-1] in stop,
                "too_long": lambda y, tokens=tokens: len(y) > len(tokens),
                "too_short": lambda y, tokens=tokens: 0 < len(y) < len(tokens),
            },
        )  # fmt: skip
        t.equal(
            f"Request {number}: finish_reason",
            request.finish_reason,
            reason,
            mistakes={"no_reason": lambda r: True},
        )
    t.equal("rows in use at the end", len(batch.rows), 0, mistakes={"row_leak": lambda n: True})


@loop.case("one request: its prompt, then a token a step, to max_tokens")
def _(answer, t):
    batch = _run(answer, t, [(3, [11, 12, 13, 14], 3, 0, ())])
    _answers(t, batch, {0: ([11, 12, 13], "length")})
    t.equal("the steps", batch.diary, [{0: 3}, {0: 1}, {0: 1}], mistakes={"too_long": lambda d: len(d) > 3})


@loop.case("a stop token ends a request and is not kept")
def _(answer, t):
    batch = _run(answer, t, [(2, [11, 5, 12], 9, 0, (5,)), (1, [5], 4, 0, (5,)), (1, [5, 8], 2, 0, (8,))])
    _answers(t, batch, {0: ([11], "stop"), 1: ([], "stop"), 2: ([5], "stop")})


@loop.case("requests that end in the same step all leave, and free rows are refilled in the next")
def _(answer, t):
    batch = _run(
        answer,
        t,
        [(1, [1] * 9, 2, 0, ()), (1, [2] * 9, 2, 0, ()), (4, [3] * 9, 2, 0, ()), (2, [4] * 9, 1, 0, ())],
    )
    _answers(
        t, batch, {0: ([1, 1], "length"), 1: ([2, 2], "length"), 2: ([3, 3], "length"), 3: ([4], "length")}
    )
    wanted = [{0: 1, 1: 1}, {0: 1, 1: 1}, {2: 4, 3: 2}, {2: 1}]
    t.equal("the steps", batch.diary, wanted, mistakes={"refill_late": lambda d: len(d) > len(wanted)})


@loop.case("arrivals in time: nobody is served before, or kept waiting after")
def _(answer, t):
    batch = _run(answer, t, [(2, [1] * 9, 3, 5, ()), (1, [2] * 9, 2, 1, ()), (1, [3] * 9, 1, 30, ())])
    _answers(t, batch, {0: ([1] * 3, "length"), 1: ([2] * 2, "length"), 2: ([3], "length")})
    times = [(now, *step) for now, step in zip(batch.times, batch.diary, strict=True)]
    t.equal("(time, requests) of the steps", times, [(1, 1), (2, 1), (5, 0), (6, 0), (7, 0), (30, 2)])


@loop.case("first come, first served, by arrival time and not by when it was added")
def _(answer, t):
    asks = [(1, [1] * 9, 3, 0, ()), (1, [2] * 9, 2, 2, ()), (1, [3] * 9, 2, 1, ()), (1, [4] * 9, 2, 2, ())]
    batch = _run(answer, t, asks, limit=1)
    first = [next(i for i, step in enumerate(batch.diary) if n in step) for n in range(4)]
    t.equal("requests in the order in which they began", np.argsort(first).tolist(), [0, 2, 1, 3],
            mistakes={"order": lambda y: True})  # fmt: skip
    _answers(t, batch, {n: ([n + 1] * asks[n][2], "length") for n in range(4)})


@loop.case("cancel frees the row, while running, waiting, and after the end")
def _(answer, t):
    asks = [
        (1, [1] * 9, 8, 0, ()),
        (1, [2] * 9, 4, 0, ()),
        (1, [3] * 9, 3, 0, ()),
        (1, [4] * 9, 2, 0, ()),
        (1, [5] * 9, 1, 50, ()),
    ]
    batch = _run(answer, t, asks, cancel={2: (0,), 3: (3,), 10: (0, 1, 2), 20: (4,)})
    _answers(t, batch, {
        0: ([1, 1], "cancelled"), 1: ([2] * 4, "length"), 2: ([3] * 3, "length"), 3: ([], "cancelled"), 4: ([], "cancelled"),
    })  # fmt: skip


@loop.case("the schedule decides: a static one makes a static engine, and chunks of prompts are its affair")
def _(answer, t):
    from ....techniques.scheduling import Work, schedule_static

    asks = [(1, [1] * 9, 1, 0, ()), (1, [2] * 9, 3, 0, ()), (1, [3] * 9, 1, 0, ())]
    batch = _run(answer, t, asks, schedule=schedule_static)
    t.equal(
        "the steps",
        batch.diary,
        [{0: 1, 1: 1}, {1: 1}, {1: 1}, {2: 1}],
        mistakes={"own_schedule": lambda d: True},
    )

    def by_twos(waiting, running, limits):
        return [Work(r, min(2, r.num_new_tokens)) for r in [*running, *waiting][: limits.max_num_seqs]]

    batch = _run(answer, t, [(5, [1] * 9, 2, 0, ()), (1, [2] * 9, 2, 0, ())], schedule=by_twos)
    _answers(t, batch, {0: ([1, 1], "length"), 1: ([2, 2], "length")})


@loop.case("random requests, arrivals and cancellations: all end, in time, and no row leaks")
def _(answer, t):
    for _ in range(15):
        count, limit = int(t.rng.integers(1, 9)), int(t.rng.integers(1, 4))
        asks = []
        for _ in range(count):
            script = t.rng.integers(1, 7, 12).tolist()
            asks.append((int(t.rng.integers(1, 6)), script, int(t.rng.integers(1, 8)), int(t.rng.integers(0, 15)),
                         tuple(t.rng.integers(1, 7, int(t.rng.integers(0, 2))).tolist())))  # fmt: skip
        cancel = {int(t.rng.integers(1, 20)): (int(t.rng.integers(0, count)),)}
        cancelled = {n for numbers in cancel.values() for n in numbers}
        batch = _run(answer, t, asks, limit=limit, steps=120, cancel=cancel)
        wanted = {n: _alone(*ask[1:3], ask[4]) for n, ask in enumerate(asks)}
        for n in cancelled:
            if batch.requests[n].finish_reason == "cancelled":
                known = batch.requests[n].generated
                wanted[n] = (wanted[n][0][: len(known)], "cancelled")
        _answers(t, batch, wanted)
        for now, waiting, running in batch.asked:
            here = [r for r in batch.requests if r.arrival_time <= now]
            known = len(waiting) + len(running)
            alive = [r for r in here if r.finish_reason is None or _ends(batch, r) >= now]
            named = "Somebody who is there is neither waiting nor running"
            t.true(
                known >= len([r for r in alive if _ends(batch, r) > now]),
                f"{named} at time {now:g}.",
                "refill_late",
            )


def _alone(script, max_tokens, stop):
    tokens = []
    for token in script:
        if token in stop:
            return tokens, "stop"
        tokens.append(token)
        if len(tokens) == max_tokens:
            return tokens, "length"


def _ends(batch, request):
    """The time of the last step that worked on a request."""
    number = batch.number[id(request)]
    return max(
        (now for now, step in zip(batch.times, batch.diary, strict=True) if number in step), default=-1
    )
