"""Timing is right for lazy arrays, fair between contenders, and robust against one slow round.

The clock is replaced where a test is about arithmetic; no test is about how fast this machine is.
"""

import time

import mlx.core as mx
import numpy as np
import pytest

from course_lib.lab import timing
from course_lib.lab.timing import Comparison, compare, timed


class FakeClock:
    """A clock that only moves when a contender says so."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now

    def costing(self, *seconds, log=None, name=None):
        """A function that takes these seconds in turn, the last for ever after."""
        left = list(seconds)

        def fn():
            self.now += left.pop(0) if len(left) > 1 else left[0]
            if log is not None:
                log.append(name)

        return fn


@pytest.fixture
def clock(monkeypatch):
    fake = FakeClock()
    monkeypatch.setattr(timing.time, "perf_counter", fake.perf_counter)
    return fake


def lazy_and_kept(kept):
    """A function whose result is computed only if someone evaluates it, and stays alive."""

    def fn():
        kept.append(mx.zeros(2**18) + len(kept))  # 1 MiB each once computed
        return {"nested": [kept[-1]]}

    return fn


def test_results_are_computed_within_the_clock():
    kept = []
    before = mx.get_active_memory()
    result = timed(lazy_and_kept(kept))
    assert mx.get_active_memory() - before >= 2**20
    assert result.result["nested"][0] is kept[0]


def test_every_call_of_a_comparison_is_computed():
    kept = []
    before = mx.get_active_memory()
    compare({"lazy": lazy_and_kept(kept)}, rounds=3)
    assert mx.get_active_memory() - before >= len(kept) * 2**20


def test_the_clock_stops_after_the_result_is_there(monkeypatch):
    events = []
    monkeypatch.setattr(timing.mx, "eval", lambda _: events.append("evaluated"))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: events.append("clock") or 0.0)
    timed(lambda: events.append("called"))
    assert events == ["clock", "called", "evaluated", "clock"]


def test_contenders_take_turns_in_alternating_order(clock):
    log = []
    contenders = {name: clock.costing(1.0, log=log, name=name) for name in "ab"}
    compare(contenders, rounds=3, warmup=1)
    assert log == ["a", "b"] + ["a", "b"] + ["b", "a"] + ["a", "b"]


def test_warm_up_calls_do_not_count(clock):
    result = compare({"compiles first": clock.costing(100.0, 50.0, 1.0)}, rounds=3, warmup=2)
    assert max(result.samples["compiles first"]) == 1.0
    assert len(result.samples["compiles first"]) == 3


def test_one_slow_round_does_not_move_the_median(clock):
    result = compare({"hiccup": clock.costing(1, 1, 1, 60, 1)}, rounds=5)
    assert result.median["hiccup"] == 1.0
    assert max(result.samples["hiccup"]) == 60


def test_spread_is_the_middle_half_of_the_rounds():
    result = Comparison({"x": np.array([1.0, 2.0, 3.0, 4.0, 100.0])})
    assert result.spread["x"] == (2.0, 4.0)


def test_short_calls_are_repeated_and_reported_a_call(clock):
    log = []
    result = compare({"short": clock.costing(1e-5, log=log, name="short")}, rounds=3, warmup=1)
    assert result.median["short"] == pytest.approx(1e-5)
    assert len(log) >= 3 * 100  # a millisecond a sample


def test_a_budget_ends_the_rounds_but_three_are_kept(clock):
    assert len(compare({"slow": clock.costing(10.0)}, rounds=9, budget=1).samples["slow"]) == 3
    assert len(compare({"slow": clock.costing(10.0)}, rounds=9, budget=45).samples["slow"]) == 5
    assert len(compare({"slow": clock.costing(10.0)}, rounds=2, budget=1).samples["slow"]) == 2


def test_ratio_is_how_many_times_as_long_the_first_takes():
    result = Comparison({"slow": np.array([4.0, 6.0, 8.0]), "fast": np.array([2.0, 2.0, 2.0])})
    assert result.ratio("slow", "fast") == 3.0
    assert result.ratio("fast", "slow") == pytest.approx(1 / 3)


def test_ratio_survives_a_machine_that_is_busy_for_some_rounds():
    busy = np.array([1.0, 1.0, 10.0, 10.0, 10.0])
    result = Comparison({"slow": 2 * busy, "fast": busy})
    assert result.ratio("slow", "fast") == 2.0


def test_ratio_names_the_contenders_when_asked_for_another():
    result = Comparison({"mine": np.array([1.0])})
    with pytest.raises(ValueError, match="'yours' was not timed; these were: mine"):
        result.ratio("mine", "yours")


def test_the_table_shows_medians_spread_and_ratio_to_the_first():
    result = Comparison({"naive": np.array([0.2, 0.2]), "<mine>": np.array([0.05, 0.05])})
    text = repr(result)
    assert "times naive" in text and "200 ms" in text and "50.0 ms" in text and "0.250" in text
    assert len({len(line) for line in text.splitlines()}) == 1, "columns line up"
    html = result._repr_html_()
    assert "&lt;mine&gt;" in html and "<mine>" not in html and "0.250" in html


@pytest.mark.parametrize("settings", [{"rounds": 0}, {"warmup": 0}])
def test_too_few_rounds_are_refused(settings):
    with pytest.raises(ValueError, match="rounds >= 1 and warmup >= 1"):
        compare({"x": lambda: None}, **settings)


def test_no_contenders_are_refused():
    with pytest.raises(ValueError, match="Give it at least one"):
        compare({})


def test_an_exception_in_a_contender_reaches_the_caller():
    with pytest.raises(ZeroDivisionError):
        compare({"broken": lambda: 1 / 0})


def test_a_real_sleep_is_measured_as_at_least_that_long():
    # A lower bound only: no claim about how fast the machine is.
    assert compare({"sleep": lambda: time.sleep(0.002)}, rounds=3).median["sleep"] >= 0.002
