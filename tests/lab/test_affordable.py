"""The sizes that fit into a time budget, by the cost of the smallest."""

import pytest

from course_lib.lab import affordable as module
from course_lib.lab.affordable import affordable
from course_lib.lab.timing import Timed

SIZES = [1, 2, 4, 8, 16, 32]


@pytest.fixture
def costs(monkeypatch):
    """Set what one call of size 1 takes, in seconds."""

    def set_cost(seconds):
        monkeypatch.setattr(module, "timed", lambda fn: Timed(fn(), seconds))

    return set_cost


def test_a_fast_machine_measures_every_size(costs):
    costs(1e-4)
    assert affordable(SIZES, lambda size: None, calls=5, seconds=10) == SIZES


def test_a_slow_machine_stops_where_the_time_is_up(costs):
    costs(0.01)  # with 2 calls: 0.02 + 0.04 + 0.08 + 0.16 = 0.3 s, and 0.62 s with the next size
    assert affordable(SIZES, lambda size: None, calls=2, seconds=0.45) == [1, 2, 4, 8]


def test_the_cost_is_that_of_one_unit_of_the_smallest_size(costs):
    costs(0.04)  # of size 4: 0.01 a unit, 0.04 + 0.08 + 0.16 + 0.32 = 0.6 s
    assert affordable([4, 8, 16, 32, 64], lambda size: None, calls=1, seconds=0.7) == [4, 8, 16, 32]


def test_there_are_three_points_however_slow_it_is(costs):
    costs(60)
    assert affordable(SIZES, lambda size: None, calls=100, seconds=0.001) == [1, 2, 4]
    assert affordable([5], lambda size: None, calls=100, seconds=0.001) == [5]


def test_the_first_call_is_a_warm_up_that_does_not_count():
    asked = []
    affordable(SIZES, asked.append, calls=1, seconds=1)
    assert asked == [1, 1, 1]


def test_one_slow_moment_does_not_shorten_the_plot(monkeypatch):
    seconds = iter([0.01, 0.09])
    monkeypatch.setattr(module, "timed", lambda fn: Timed(fn(), next(seconds)))
    assert affordable(SIZES, lambda size: None, calls=2, seconds=0.45) == [1, 2, 4, 8]
    seconds = iter([0.09, 0.01])
    assert affordable(SIZES, lambda size: None, calls=2, seconds=0.45) == [1, 2, 4, 8]


def test_no_sizes_are_refused():
    with pytest.raises(ValueError, match="no sizes"):
        affordable([], print, calls=1, seconds=1)
