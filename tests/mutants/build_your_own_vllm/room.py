"""Who gets room, and who steps back."""

from course_lib.techniques.scheduling import Work

from .. import mutant, rival

ROOM = "build_your_own_vllm.make_room"


def _make(
    pop=-1, leave=True, loop=True, works_on_preempted=False, stops_itself=True, passes_over=True, guard=True, skips=False,
    joins=True, join=True, prefix=True, idle=False, copy=True, rejoin=False,
):  # fmt: skip
    """The reference with one thing wrong."""

    def answer(work, running, cache):
        counts = {request: count for request, count in work}
        stays = list(running) if copy else running
        fits, back = [], []
        for request in list(running):
            if not idle and request not in counts:
                continue
            if passes_over and request in back:
                continue
            count = counts.get(request, 0)
            if rejoin:
                cache.join(request, count)
            ok = cache.reserve(request, count)
            while not ok:
                newest = stays.pop(pop)
                back.append(newest)
                if leave:
                    cache.leave(newest)
                if stops_itself and newest is request:
                    break
                if not loop:
                    ok = True
                    break
                ok = newest is not request and cache.reserve(request, count)
            if count and (ok or works_on_preempted):
                fits.append(Work(request, count))
        for request, count in work if joins else ():
            if request in running or request in back or (guard and back):
                continue
            if not (cache.join(request, count) if join else cache.reserve(request, count)):
                if skips:
                    continue
                break
            fits.append(Work(request, min(count, request.num_new_tokens) if prefix else count))
        return fits, back

    return answer


def _mutant(mistake, **wrong):
    answer = _make(**wrong)
    answer.__name__ = "_".join(map(str, wrong))
    mutant(ROOM, mistake)(answer)


_mutant("oldest_back", pop=0)
_mutant("not_left", leave=False)
_mutant("without_room", loop=False)
_mutant("works_on_preempted", works_on_preempted=True)
_mutant("asks_preempted", passes_over=False)
_mutant("rejoins", guard=False)
_mutant("overtakes", skips=True)
_mutant("nobody_joins", joins=False)
_mutant("not_joined", join=False)
_mutant("whole_prompt", prefix=False)
_mutant("idle", idle=True)
_mutant("changes_lists", copy=False)
_mutant("joins_running", rejoin=True)


@mutant(ROOM, "itself")
def older_steps_back_for_the_newest(work, running, cache):
    counts, stays, back, fits = dict(work), list(running), [], []
    for request in running:
        if request not in counts or request in back:
            continue
        while not cache.reserve(request, counts[request]):
            newest = next(r for r in reversed(stays) if r is not request)
            stays.remove(newest)
            back.append(newest)
            cache.leave(newest)
            if newest in [r for r, _ in fits]:
                fits = [item for item in fits if item.request is not newest]
        fits.append(Work(request, counts[request]))
    return fits, back


@mutant(ROOM, "itself")
def goes_on_after_itself(work, running, cache):
    counts, stays, back, fits = dict(work), list(running), [], []
    for request in running:
        if request not in counts or request in back:
            continue
        while request in cache.held and not cache.reserve(request, counts[request]):
            back.append(stays.pop())
            cache.leave(back[-1])
        if request not in cache.held and stays:
            back.append(stays.pop())
            cache.leave(back[-1])
            continue
        if request in cache.held:
            fits.append(Work(request, counts[request]))
    return [item for item in fits if item.request not in back], back


@mutant(ROOM, "not_a_pair")
def forgets_who_stepped_back(work, running, cache):
    return _make()(work, running, cache)[0]


@mutant(ROOM, None)
def returns_nothing_to_do(work, running, cache):
    return [], []


@rival(ROOM)
def tries_the_oldest_first(work, running, cache):
    """Recursive, from the oldest on; whoever still runs is a queue that both ends are taken from."""
    from collections import deque

    wanted, queue, back, fits = {id(r): (r, n) for r, n in work}, deque(running), [], []
    while queue:
        oldest = queue.popleft()
        if id(oldest) not in wanted:
            continue
        count = wanted[id(oldest)][1]
        placed = cache.reserve(oldest, count)
        while not placed:
            victim = queue.pop() if queue else oldest
            cache.leave(victim)
            back.append(victim)
            if victim is oldest:
                break
            placed = cache.reserve(oldest, count)
        if placed:
            fits.append((oldest, count))
    for request, count in work:
        if any(request is r for r in running):
            continue
        if back or not cache.join(request, count):
            break
        fits.append((request, min(request.num_new_tokens, count)))
    return tuple(fits), tuple(back)
