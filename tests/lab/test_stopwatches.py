"""Stopwatches see the work of the function they watch, and no other's."""

import time

import mlx.core as mx

from course_lib.lab.stopwatches import Stopwatches


def slow(x):
    time.sleep(0.05)
    return x + 1


def test_time_and_calls_are_added_up_by_name():
    watches = Stopwatches()
    add = watches.watch("add", slow)
    assert add(add(mx.array(1.0))).item() == 3.0
    assert watches.calls == {"add": 2}
    assert watches.seconds["add"] >= 0.1


def test_what_the_arguments_still_lack_is_not_counted():
    def expensive(x):
        return mx.linalg.svd(x, stream=mx.cpu)[1].sum()

    watches = Stopwatches()
    cheap = watches.watch("cheap", lambda x: x + 1)
    expensive_first = watches.watch("expensive", expensive)
    x = mx.random.normal((300, 300))
    cheap(expensive(x))  # lazy until `cheap` wants it
    expensive_first(x)
    assert watches.seconds["cheap"] < watches.seconds["expensive"]


def test_a_name_can_depend_on_the_arguments():
    watches = Stopwatches()
    double = watches.watch(lambda x, *, kind: f"double {kind}", lambda x, *, kind: x * 2)
    double(mx.array(1.0), kind="a")
    double(mx.array(1.0), kind="b")
    assert set(watches.calls) == {"double a", "double b"}


def test_clear_forgets_the_warm_up():
    watches = Stopwatches()
    watches.watch("add", slow)(mx.array(1.0))
    watches.clear()
    assert not watches.seconds and not watches.calls
