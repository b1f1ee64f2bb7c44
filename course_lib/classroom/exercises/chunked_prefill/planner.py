"""The step planner: a budget of tokens, decoding first, prompts in pieces."""

from collections.abc import Sequence
from dataclasses import dataclass

from ....techniques import scheduling as reference
from ....techniques.scheduling import Limits, Work
from ...exercise import Exercise
from .layer import NAMES

schedule = Exercise(
    "chunked_prefill.schedule",
    "A step planner with a budget",
    name="schedule_chunked",
    reference=reference.schedule_chunked,
    names={**NAMES, "Work": Work},
    mistakes={
        "not_work": "Return a list of `Work(request, num_tokens)`: the engine reads these two names.",
        "over_budget": (
            "The step has more tokens than `max_num_batched_tokens`. Each decoding request takes one from the budget before any "
            "prompt, and each piece what it is long."
        ),
        "starved": (
            "A request that decodes was left out, or came after a prompt had taken the budget. Serve those with one new token first: "
            "somebody is reading along."
        ),
        "whole_prompt": "A prompt that does not fit the budget was left waiting. Take as much of it as fits: that is the idea.",
        "one_prompt": "There is budget left and a second prompt to spend it on. Go on to the next prompt until the budget is used up.",
        "threshold": "One prompt got more than `long_prefill_token_threshold` tokens.",
        "begun_first": "A prompt was begun before one that runs already had its piece. Those that were begun come first, then those that wait.",
        "order": "A later prompt was preferred to an earlier one. Within those that were begun, and within those that wait, the order is that of the list.",
        "seats": "More than `max_num_seqs` requests would run: those that run count, whether they decode or read their prompt.",
        "empty": "A piece has no tokens. When the budget is used up, stop: nobody joins with nothing to do.",
        "none": "A limit of None means no limit: do not calculate with it.",
    },
)


@dataclass(eq=False)
class Asked:
    """A request as a schedule sees it."""

    name: str
    num_new_tokens: int

    def __repr__(self):
        return self.name


def decoding(n: int) -> list[Asked]:
    return [Asked(f"d{i}", 1) for i in range(n)]


def prompts(*lengths: int, name="p") -> list[Asked]:
    return [Asked(f"{name}{i}", n) for i, n in enumerate(lengths)]


def _said(work: Sequence) -> list[tuple[str, int]]:
    return [(item.request.name, item.num_tokens) for item in work]


def _policy(waiting, running, limits):
    """What each request gets, one token at a time: whoever is first in line and may have one more takes it."""
    line = [*(r for r in running if r.num_new_tokens == 1), *(r for r in running if r.num_new_tokens > 1), *waiting]
    left, seats = limits.max_num_batched_tokens, limits.max_num_seqs - len(running)
    most, got = limits.long_prefill_token_threshold, {}
    for request in line:
        if request in waiting:
            if not seats:
                break
            seats -= 1
        while request.num_new_tokens > got.get(request, 0) != most and left != 0:
            got[request] = got.get(request, 0) + 1
            left = None if left is None else left - 1
        if left == 0:
            break
    return got


def _mistake(work, waiting, running, limits) -> tuple[str | None, str]:
    """The first rule that is broken, and how."""
    got, wanted = {item.request: item.num_tokens for item in work}, _policy(waiting, running, limits)
    decoders = [r for r in running if r.num_new_tokens == 1]
    known = {*running, *waiting}
    total, budget, most = sum(got.values()), limits.max_num_batched_tokens, limits.long_prefill_token_threshold
    if len(got) < len(work):
        return None, "A request is in it twice."
    if any(r not in known for r in got):
        return None, "There is a request in it that was not given."
    if any(n < 1 for n in got.values()):
        return "empty", "There is a piece of no tokens in it."
    if any(n > r.num_new_tokens for r, n in got.items()):
        return None, "A request gets more tokens than it has."
    if missing := [r.name for r in decoders if r not in got]:
        return "starved", f"{', '.join(missing)} should decode, and is not in it."
    if budget is not None and total > budget:
        return "over_budget", f"These are {total} tokens; max_num_batched_tokens is {budget}."
    if most is not None and any(n > most for n in got.values()):
        return "threshold", f"long_prefill_token_threshold is {most}."
    joining = sum(r in set(waiting) for r in got)
    if len(running) + joining > limits.max_num_seqs:
        return "seats", f"{len(running) + joining} requests would run; max_num_seqs is {limits.max_num_seqs}."
    begun = [r for r in running if r.num_new_tokens > 1]
    short = [r for r in begun if got.get(r, 0) < wanted.get(r, 0)]
    if short and any(got.get(r, 0) > wanted.get(r, 0) for r in waiting):
        return "begun_first", f"{short[0].name} was begun earlier and gets less than it could."
    for line in (begun, waiting):
        behind = [r for r in line if got.get(r, 0) < wanted.get(r, 0)]
        if behind and any(got.get(r, 0) > wanted.get(r, 0) for r in line[line.index(behind[0]) + 1 :]):
            return "order", f"{behind[0].name} came first and gets less than it could."
    if got != wanted:
        partly = [r for r in [*begun, *waiting] if r not in got and wanted.get(r, 0)]
        if partly and not any(r in got for r in [*begun, *waiting]):
            return "whole_prompt", f"{partly[0].name} gets nothing, though there is budget for {wanted[partly[0]]} of its tokens."
        if partly:
            return "one_prompt", f"{partly[0].name} gets nothing, though there is budget for {wanted[partly[0]]} of its tokens."
        return None, "The budget is not used up, and there are tokens to spend it on."
    return None, ""


def _judge(answer, t, waiting, running, **limits):
    limits = Limits(**limits)
    shown = ", ".join(f"{name}={value}" for name, value in vars(limits).items() if value is not None)
    before = (list(waiting), list(running))
    work = answer(waiting, running, limits)
    shaped = isinstance(work, (list, tuple)) and all(hasattr(item, "request") and hasattr(item, "num_tokens") for item in work)
    t.true(shaped, f"schedule_chunked(...) is {work!r:.120}.\nWanted: a list of Work(request, num_tokens).", "not_work")
    t.true((list(waiting), list(running)) == before, "The lists `waiting` and `running` were changed. The engine moves requests; a schedule only picks.", "changed_input")
    mistake, words = _mistake(work, waiting, running, limits)
    lines = ", ".join(f"{r.name}: {r.num_new_tokens}" for r in running) or "nobody"
    queue = ", ".join(f"{r.name}: {r.num_new_tokens}" for r in waiting) or "nobody"
    wanted = [(r.name, n) for r, n in _policy(waiting, running, limits).items()]
    t.true(
        not words,
        f"running {lines} (new tokens); waiting {queue}; {shown}\n"
        f"schedule_chunked gives {_said(work)}. {words}\nWanted (in any order): {wanted}",
        mistake,
    )


NONE = {"none": "TypeError.*NoneType"}


@schedule.case("three decode, a budget of 8: a waiting prompt of 20 gets the other 5 tokens")
def _(answer, t):
    _judge(answer, t, prompts(20), decoding(3), max_num_batched_tokens=8)


@schedule.case("the prompt has been begun: it stands among those that run, before one that decodes")
def _(answer, t):
    _judge(answer, t, [], [*prompts(15), *decoding(3)], max_num_batched_tokens=8)


@schedule.case("all of the budget is needed for decoding: nobody joins with nothing to do")
def _(answer, t):
    _judge(answer, t, prompts(9), decoding(4), max_num_seqs=8, max_num_batched_tokens=8)
    _judge(answer, t, prompts(9), [*prompts(7, name="b"), *decoding(4)], max_num_seqs=6, max_num_batched_tokens=6)
    _judge(answer, t, [], [*decoding(8)], max_num_batched_tokens=8)
    _judge(answer, t, [], [*decoding(7), *prompts(5)], max_num_batched_tokens=8)
    _judge(answer, t, prompts(30, 30), [*decoding(3), *prompts(9)], max_num_seqs=8, max_num_batched_tokens=12)


@schedule.case("several prompts in one step: what the first leaves goes to the next")
def _(answer, t):
    _judge(answer, t, prompts(6, 4, 30, 9), decoding(2), max_num_batched_tokens=20)


@schedule.case("prompts that were begun come before those that wait, each in order")
def _(answer, t):
    _judge(answer, t, prompts(3, 2), [*prompts(30, 4, name="b"), *decoding(1)], max_num_batched_tokens=16)
    _judge(answer, t, prompts(9, 2), [*prompts(4, 3, name="b")], max_num_batched_tokens=12)


@schedule.case("no prompt gets more than long_prefill_token_threshold")
def _(answer, t):
    _judge(answer, t, prompts(50, 50), decoding(2), max_num_batched_tokens=40, long_prefill_token_threshold=12)


@schedule.case("max_num_seqs counts everybody who runs")
def _(answer, t):
    _judge(answer, t, prompts(3, 3, 3), [*decoding(2), *prompts(5, name="b")], max_num_seqs=4, max_num_batched_tokens=64)
    _judge(answer, t, prompts(3, 3), decoding(4), max_num_seqs=4, max_num_batched_tokens=64)


@schedule.case("limits of None do not limit", errors=NONE)
def _(answer, t):
    _judge(answer, t, prompts(500, 3), decoding(2))
    _judge(answer, t, prompts(500, 3), decoding(2), long_prefill_token_threshold=7)


@schedule.case("any requests, any limits", errors=NONE)
def _(answer, t):
    def some(low, high):
        return int(t.rng.integers(low, high))

    for _ in range(150):
        running = [Asked(f"r{i}", 1 if t.rng.random() < 0.6 else some(2, 20)) for i in range(some(0, 6))]
        waiting = prompts(*(some(1, 25) for _ in range(some(0 if running else 1, 5))))
        seats = some(max(1, len(running)), 9)
        budget = None if t.rng.random() < 0.15 else some(max(seats, 1), 40)
        threshold = None if t.rng.random() < 0.5 else some(1, 15)
        _judge(
            answer, t, waiting, running,
            max_num_seqs=seats, max_num_batched_tokens=budget, long_prefill_token_threshold=threshold,
        )  # fmt: skip
