"""Who gets room in the cache, and who steps back."""

from dataclasses import dataclass

from ....techniques.making_room import make_room as reference
from ....techniques.scheduling import Work
from ...exercise import Exercise

make_room = Exercise(
    "build_your_own_vllm.make_room",
    "Who gets room, and who steps back",
    name="make_room",
    reference=reference,
    names={"Work": Work},
    mistakes={
        "oldest_back": "An older request stepped back before a newer one. `running` has the oldest first: the newest is its last.",
        "not_left": "A request stepped back and kept its room. `cache.leave(request)` gives it to the others.",
        "without_room": (
            "A request is in the work without room for its tokens. Ask `cache.reserve` for each that runs, and ask again "
            "after each one that steps back: `while`, not `if`."
        ),
        "works_on_preempted": "A request that stepped back is in the work. Those that stepped back have nothing in the cache any more.",
        "itself": (
            "One that found no room was the newest itself, and older ones stepped back for it, or nobody was left to. "
            "It steps back, and that ends its turn."
        ),
        "asks_preempted": "`reserve` was asked for a request that had stepped back before. Pass over those: they are no longer in the cache.",
        "rejoins": "Somebody joined in a step in which others had to step back. What room is left is wanted by those.",
        "overtakes": "Somebody joined past one that found no room. Stop at the first that does not fit: it would starve behind smaller ones.",
        "not_joined": "A request that waits is to `join` the cache; `reserve` is for those that are in it.",
        "joins_running": "A running request was to join again. It is in the cache: `reserve`.",
        "nobody_joins": "Somebody waits, there is room, nobody stepped back, and yet it did not join.",
        "whole_prompt": (
            "More tokens of a request are in the work than are left to compute. When it joins, the cache may know how it begins: "
            "`min(count, request.num_new_tokens)`, asked after `join`."
        ),
        "idle": "`reserve` was asked for a running request that is not in the work: this step brings it no token.",
        "changes_lists": "`work` or `running` has changed. Work on copies: `list(running)`.",
        "not_a_pair": "Return two lists: the work that fits, as `Work(request, count)`, and the requests that stepped back.",
    },
)  # fmt: skip


@dataclass(eq=False)
class _Asked:
    """A request of the check's own."""

    name: str
    num_new_tokens: int
    known: int = 0  # tokens of its beginning that the cache finds when it joins

    def __repr__(self):
        return self.name


class _Room:
    """A cache with room for so many tokens, and a diary."""

    def __init__(self, t, free, held):
        self.t, self.free, self.held = t, free, dict(held)
        self.has_room, self.left, self.working = set(), [], set()

    def join(self, request, count):
        self.t.true(request not in self.held, f"join({request}, {count}): it is in the cache already.", "joins_running")
        found = request.known
        count = min(count, request.num_new_tokens - found)
        if count > self.free:
            return False
        request.num_new_tokens -= found
        self.held[request] = count
        self.free -= count
        self.has_room.add(request)
        return True

    def reserve(self, request, count):
        if request not in self.held:
            mistake = "asks_preempted" if request in self.left else "not_joined"
            self.t.true(False, f"reserve({request}, {count}): it is not in the cache.", mistake)
        self.t.true(request in self.working, f"reserve({request}, {count}): {request} is not in the work.", "idle")
        if count > self.free:
            return False
        self.free -= count
        self.held[request] += count
        self.has_room.add(request)
        return True

    def leave(self, request):
        if request not in self.held:
            self.t.true(False, f"leave({request}): it is not in the cache.", None)
        self.free += self.held.pop(request)
        self.left.append(request)


def _stay(free, held, wanted):
    """How many of the oldest can stay: the most whose tokens fit, once all newer ones have left.

    Args:
        held, wanted: tokens of each running request that are in the cache, and that it wants besides.
    """
    return max(k for k in range(len(held) + 1) if sum(wanted[:k]) <= free + sum(held[k:]))


def _check(answer, t, free, running, waiting=()):
    """running: (tokens held, tokens wanted), the oldest first; waiting: (new tokens, known at the beginning)."""
    old = [_Asked(f"r{i}", max(wanted, 1)) for i, (_, wanted) in enumerate(running)]
    new = [_Asked(f"w{i}", tokens, known) for i, (tokens, known) in enumerate(waiting)]
    work = [Work(r, wanted) for r, (_, wanted) in zip(old, running, strict=True) if wanted]
    work += [Work(r, r.num_new_tokens) for r in new]
    cache = _Room(t, free, zip(old, (held for held, _ in running), strict=True))
    cache.working = {request for request, _ in work}
    story = (
        f"Room for {free} tokens; running, as (held, wanted), the oldest first: {running}; "
        f"waiting, as (new, known): {list(waiting)}.\n"
    )
    given_work, given_running = list(work), list(old)
    try:
        given = answer(given_work, given_running, cache)
    except IndexError as error:
        mistake = "itself" if cache.left else "not_left"
        t.true(False, f"{story}IndexError: {error}", mistake)
    same = given_work == work and given_running == old
    t.true(same, f"{story}Afterwards running is {given_running} and the work is of {[r for r, _ in given_work]}.", "changes_lists")
    is_pair = isinstance(given, (tuple, list)) and len(given) == 2 and all(isinstance(part, (tuple, list)) for part in given)
    is_pair = is_pair and all(isinstance(item, tuple) and len(item) == 2 for item in given[0])
    t.true(is_pair, f"{story}make_room returns {given!r:.100}.", "not_a_pair")
    fits, preempted = [tuple(item) for item in given[0]], list(given[1])
    _compare(t, story, cache, free, running, old, new, fits, preempted)


def _compare(t, story, cache, free, running, old, new, fits, preempted):
    working = [request for request, _ in fits]
    said = f"{story}Work: {fits}; stepped back: {preempted}; in the cache: {list(cache.held)}.\n"
    stay = _stay(free, [held for held, _ in running], [wanted for _, wanted in running])
    back = old[: stay - 1 if stay else None : -1] if stay < len(old) else []
    t.true(not set(preempted) & set(cache.held), f"{said}{preempted} stepped back, and not all have left.", "not_left")
    t.true(not set(preempted) & set(working), f"{said}Some stepped back and are in the work.", "works_on_preempted")
    for request in working:
        t.true(request in cache.has_room, f"{said}{request} has no room for its tokens.", "without_room")
    if preempted and preempted[0] is not old[-1]:
        mistake = "oldest_back" if preempted[0] is old[0] else "itself"
        t.true(False, f"{said}The first to step back is {preempted[0]}, the newest is {old[-1]}.", mistake)
    joined = [request for request in new if request in cache.held]
    t.true(not (preempted and joined), f"{said}{joined} joined, and {preempted} stepped back.", "rejoins")
    if joined and joined != new[: len(joined)]:
        t.true(False, f"{said}{joined} joined past {new[0] if new[0] not in joined else new[1]}.", "overtakes")
    t.equal(f"{said}who stepped back", [r.name for r in preempted], [r.name for r in back], mistakes={
        "itself": lambda given: len(given) > len(back) and set(back) <= set(preempted),
    })  # fmt: skip
    left = free + sum(held for held, _ in running[stay:]) - sum(wanted for _, wanted in running[:stay])
    wanted = [(r.name, n) for r, (_, n) in zip(old[:stay], running, strict=False) if n]
    if not back:
        for request in new:
            tokens = request.num_new_tokens - (0 if request in joined else request.known)
            if tokens > left:
                break
            left -= tokens
            wanted.append((request.name, tokens))
    short = {name: n for name, n in wanted}
    t.equal(f"{said}the work, sorted by name,", sorted((r.name, n) for r, n in fits), sorted(wanted), mistakes={
        "whole_prompt": lambda given: any(n > short.get(name, n) for name, n in given),
        "nobody_joins": lambda given: len(given) < len(wanted) and not {r for r in joined} and any(n.startswith("w") for n, _ in wanted)
        and sorted(x for x in wanted if x[0].startswith("r")) == sorted(given),
    })  # fmt: skip


@make_room.case("with room for all, all are in the step and nobody steps back")
def _(answer, t):
    _check(answer, t, 10, [(5, 1), (3, 1)])
    _check(answer, t, 10, [(5, 1), (3, 4), (0, 2)])


@make_room.case("one that is not in the work keeps its room, and gets no more")
def _(answer, t):
    _check(answer, t, 5, [(5, 0), (3, 1)])
    _check(answer, t, 0, [(5, 1), (3, 0), (2, 0)])


@make_room.case("no room: the newest steps back, and its room serves the older ones")
def _(answer, t):
    _check(answer, t, 0, [(5, 1), (4, 1), (3, 1)])
    _check(answer, t, 1, [(5, 2), (4, 1), (3, 1)])


@make_room.case("as many step back as it takes, the newest first")
def _(answer, t):
    _check(answer, t, 0, [(9, 4), (2, 1), (1, 1), (1, 1)])
    _check(answer, t, 0, [(9, 3), (2, 0), (2, 0), (1, 1)])


@make_room.case("the newest itself finds no room: it steps back, and no older one for it")
def _(answer, t):
    _check(answer, t, 2, [(5, 1), (4, 1), (3, 1)])
    _check(answer, t, 1, [(6, 1), (2, 8)])


@make_room.case("who waits joins in order while there is room, and nobody past one that finds none")
def _(answer, t):
    _check(answer, t, 9, [(4, 1)], [(5, 0), (3, 0)])
    _check(answer, t, 9, [(4, 1)], [(5, 0), (6, 0), (1, 0)])
    _check(answer, t, 9, [], [(12, 0), (1, 0)])
    _check(answer, t, 8, [], [(4, 0), (4, 0), (1, 0)])


@make_room.case("nobody joins in a step in which somebody had to step back")
def _(answer, t):
    _check(answer, t, 0, [(5, 1), (9, 1)], [(2, 0)])


@make_room.case("of one that joins, only the tokens that the cache does not know are in the work")
def _(answer, t):
    _check(answer, t, 9, [(4, 1)], [(8, 4), (3, 0)])


@make_room.case("200 random states")
def _(answer, t):
    for _ in range(200):
        running = [(int(t.rng.integers(0, 9)), int(t.rng.integers(0, 4))) for _ in range(t.rng.integers(0, 6))]
        waiting = []
        for tokens in t.rng.integers(1, 9, t.rng.integers(0, 4)).tolist():
            waiting.append((tokens, int(t.rng.integers(0, tokens))))
        if any(wanted for _, wanted in running) or waiting:
            _check(answer, t, int(t.rng.integers(0, 8)), running, waiting)
