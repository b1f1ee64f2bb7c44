"""The stretch exercise: the shortest first, and nobody for ever last."""

import mlx.core as mx
import numpy as np

from ....lab.serving import Ask, simulate
from ....techniques.scheduling import Limits, schedule_continuous
from ....techniques.waiting_order import order_waiting
from ...exercise import Exercise

# Of first come, first served's mean latency.
GAIN = 0.8
# Seconds that a request may wait for each of its tokens when it found the engine all but empty.
PATIENCE = 10

order = Exercise(
    "continuous_batching.order",
    "The shortest first, and nobody for ever last",
    name="order_waiting",
    reference=order_waiting,
    names={"mx": mx, "np": np},
    stretch=True,
    mistakes={
        "lost": "The list that comes back is another one: every request must be in it exactly once, in a new order.",
        "changes_list": "`waiting` itself has changed. `sorted(...)` makes a new list; `waiting.sort(...)` does not.",
        "no_gain": (
            "The mean latency is hardly better than first come, first served's. Let short answers go first, and "
            "let waiting weigh less against length."
        ),
        "worse": "The mean latency is worse than first come, first served's. Do long ones go first?",
        "starves": (
            "A long request waits for as long as short ones keep coming. Let those that have waited gain on the "
            "others: take something off their key for every second, `now - arrival_time`."
        ),
    },
)


def _simulate(asks, rows, order):
    # A step takes a second, whatever is in it.
    return simulate(asks, schedule_continuous, Limits(rows), lambda tokens: 1.0, order)


def _mixed(t, count, rate):
    """Three short answers for each long one, at random times."""
    lengths = np.where(t.rng.random(count) < 0.75, t.rng.integers(2, 8, count), t.rng.integers(40, 80, count))
    times = np.cumsum(t.rng.exponential(1 / rate, count))
    return [Ask((1, 2, 3), int(n), float(at)) for n, at in zip(lengths, times, strict=True)]


@order.case("the same requests, in a list of their own")
def _(answer, t):
    from ....techniques.serving_loop import Request

    for count in (0, 1, 5):
        waiting = [Request([1], int(n), float(i)) for i, n in enumerate(t.rng.integers(1, 30, count))]
        before = list(waiting)
        given = answer(waiting, 12.0)
        t.true(waiting == before, "`waiting` has changed.", "changes_list")
        same = (
            isinstance(given, list)
            and len(given) == count
            and {id(r) for r in given} == {id(r) for r in before}
        )
        t.true(
            same,
            f"order_waiting of {count} requests gives {_named(given)}.\nWanted: the same {count}.",
            "lost",
        )


def _named(given):
    return f"a list of {len(given)}" if isinstance(given, list) else repr(given)[:60]


@order.case(
    f"three short answers for each long one: the mean latency falls to {GAIN:.0%} of first come, first served's"
)
def _(answer, t):
    for rate in (0.3, 0.2):
        asks = _mixed(t, 120, rate)
        ours, fair = (_mean(_simulate(asks, 4, order)) for order in (answer, None))
        message = (
            f"{rate:g} requests a second: mean latency {ours:.0f} s, first come, first served {fair:.0f} s."
        )
        if ours > GAIN * fair:
            wanted = f"{message}\nWanted: at most {GAIN * fair:.0f} s."
            t.true(False, wanted, "worse" if ours > fair * 1.02 else "no_gain")


def _mean(served):
    return float(np.mean([r.end_to_end_latency for r in served.requests]))


@order.case(f"short ones without end: a request of n tokens begins within {PATIENCE} n seconds")
def _(answer, t):
    for tokens in (20, 60):
        # Two rows serve half a request of four tokens a second; one comes every second.
        crowd = [Ask((1,), 4, 0.5 + i) for i in range(2 * PATIENCE * tokens)]
        asks = [Ask((1,), 4, 0.0), Ask((1,), 4, 0.0), Ask((1,), tokens, 0.25), *crowd]
        waits = _simulate(asks, 2, answer).requests[2].queue_time
        t.true(
            waits <= PATIENCE * tokens,
            f"A request of {tokens} tokens, with one of 4 tokens coming every second: it begins after {waits:.0f} s.\n"
            f"Wanted: within {PATIENCE * tokens} s.",
            "starves",
        )  # fmt: skip
