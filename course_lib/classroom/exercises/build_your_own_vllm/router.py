"""The router in front of several replicas."""

from ....techniques.routing import Router
from ...exercise import Exercise

router = Exercise(
    "build_your_own_vllm.router",
    "A router that counts tokens",
    name="Router",
    reference=Router,
    names={},
    mistakes={
        "in_turn": "The replicas take turns, however much each has to do. Send it to the one with the fewest tokens left.",
        "counts_requests": "Requests were counted. A long one is more work than a short one: count their tokens.",
        "always_first": (
            "All go to the first replica. `send` is to count the request's tokens at once, since more may come before the first "
            "has ended, and to choose the smallest load."
        ),
        "last_of_equals": "Of replicas with equally many tokens left, the first is wanted.",
        "never_finished": "`finished` changes nothing: the replica that it names has so many tokens less to do.",
        "wrong_replica": "`finished` took the tokens from another replica than the one that it names.",
        "forgets_all": "`finished` took more than that request's tokens away: others are still running there.",
        "no_error": "A router without replicas cannot send anything: raise a ValueError that says what was given and what is wanted.",
        "index": "`send` returns the replica's number, from 0 to num_replicas - 1.",
    },
)


class _Router:
    """The definition; with one thing changed, what a known mistake would do.

    Args:
        pick: loads -> the replica.
        weigh: tokens -> what is counted for them.
        finish: loads, replica, tokens -> loads afterwards.
    """

    def __init__(self, count, pick=lambda loads: loads.index(min(loads)), weigh=lambda n: n, finish=None):
        self.loads, self.pick, self.weigh, self.finish = [0] * count, pick, weigh, finish

    def send(self, tokens):
        replica = self.pick(self.loads)
        self.loads[replica] += self.weigh(tokens)
        return replica

    def finished(self, replica, tokens):
        if self.finish is not None:
            self.finish(self.loads, replica, tokens)
        else:
            self.loads[replica] -= self.weigh(tokens)


def _wrong(count):
    """Name of a known mistake -> a router that makes it."""
    turn = iter(range(10**6))

    def last(loads):
        return count - 1 - loads[::-1].index(min(loads))

    def from_first(loads, replica, tokens):
        loads[0] -= tokens

    def all_away(loads, replica, tokens):
        loads[replica] = 0

    return {
        "in_turn": _Router(count, pick=lambda loads: next(turn) % count),
        "counts_requests": _Router(count, weigh=lambda n: 1),
        "always_first": _Router(count, pick=lambda loads: 0),
        "last_of_equals": _Router(count, pick=last),
        "never_finished": _Router(count, finish=lambda *given: None),
        "wrong_replica": _Router(count, finish=from_first),
        "forgets_all": _Router(count, finish=all_away),
    }


def _serve(router, actions):
    """The replicas that it sends the requests to: a number of tokens is sent, ("end", i) ends the i-th request."""
    sent, ended = [], set()
    for action in actions:
        if isinstance(action, tuple):
            if action[1] not in ended:
                ended.add(action[1])
                router.finished(*sent[action[1]])
        else:
            sent.append((router.send(action), action))
    return [replica for replica, _ in sent]


def _run(answer, t, count, actions):
    given, wanted = _serve(answer(count), actions), _serve(_Router(count), actions)
    story = f"Router({count}): {', '.join(f'finished(request {a[1]})' if isinstance(a, tuple) else f'send({a})' for a in actions[:14])}"
    dots = ", ..." if len(actions) > 14 else ""
    fine = all(type(replica) is int and 0 <= replica < count for replica in given)
    t.true(fine, f"{story}{dots}: `send` returns {given[:14]}; there are replicas 0 to {count - 1}.", "index")
    mistakes = {name: _serve(router, actions) for name, router in _wrong(count).items()}
    t.equal(f"{story}{dots}: the replicas", given, wanted, mistakes=mistakes)


@router.case("the first requests go to the first replicas", errors={"index": "IndexError"})
def _(answer, t):
    _run(answer, t, 1, [5, 2])
    _run(answer, t, 3, [6, 5, 4, ("end", 1), 2, 2, 1, 1, 3, 3, 3])


@router.case("the next one goes where the fewest tokens are left")
def _(answer, t):
    _run(answer, t, 2, [10, 3, 3, 3, 3, 9, 1, 1, 8, 2, 2, 2])
    _run(answer, t, 3, [9, 2, 5, 1, 1, 7, 2, 2, 4, 1, 1])


@router.case("what has ended is no load any more, and only that")
def _(answer, t):
    _run(answer, t, 2, [10, 4, ("end", 0), 2])
    _run(answer, t, 2, [10, 4, 3, 4, ("end", 1), 1, 1, 6, 6, 6])
    _run(answer, t, 2, [6, 6, 2, 1, 9, ("end", 0), ("end", 3), 2, 5])
    _run(answer, t, 3, [4, 9, 6, ("end", 1), 2, 3])


@router.case("40 random loads")
def _(answer, t):
    for _ in range(40):
        actions, sent = [], 0
        for _ in range(25):
            if sent and t.rng.random() < 0.4:
                actions.append(("end", int(t.rng.integers(0, sent))))
            else:
                actions.append(int(t.rng.integers(1, 60)))
                sent += 1
        _run(answer, t, int(t.rng.integers(1, 5)), actions)


@router.case("no replicas: an error")
def _(answer, t):
    t.raises(ValueError, lambda: answer(0), "Router(0)", mistake="no_error")
