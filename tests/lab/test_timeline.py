"""Charts of a served load are read back: who was worked on when, and how full the steps were."""

import pytest
from matplotlib.colors import to_hex

from course_lib.lab.serving import Ask, simulate
from course_lib.lab.style import BLUE, ORANGE
from course_lib.lab.timeline import counted_in_steps, gantt, mean_rows, occupancy
from course_lib.techniques.scheduling import Limits, schedule_continuous, schedule_static

ASKS = [Ask((1, 2), 2), Ask((1,), 5), Ask((1, 2, 3), 1, 0.5)]


@pytest.fixture
def runs():
    return {
        name: simulate(ASKS, schedule, Limits(2), lambda tokens: 1.0)
        for name, schedule in (("static", schedule_static), ("continuous", schedule_continuous))
    }


def boxes(axis, colour):
    """(row, start, end) of the boxes in a colour."""
    found = [p for p in axis.patches if to_hex(p.get_facecolor()).upper() == colour]
    return sorted(
        (round(p.get_y() + p.get_height() / 2), p.get_x(), p.get_x() + p.get_width()) for p in found
    )


def test_each_step_is_a_box_where_it_ran(runs):
    static, continuous = gantt(runs).axes
    assert boxes(static, ORANGE) == [(0, 0, 1), (1, 0, 1), (2, 5, 6)]
    assert boxes(continuous, ORANGE) == [(0, 0, 1), (1, 0, 1), (2, 2, 3)]
    assert boxes(continuous, BLUE) == [(0, 1, 2), (1, 1, 2), (1, 2, 3), (1, 3, 4), (1, 4, 5)]


def test_waiting_begins_at_the_arrival(runs):
    static, _ = gantt(runs).axes
    grey = [p for p in static.patches if to_hex(p.get_facecolor()) == "#dddddd"]
    assert [(p.get_x(), p.get_x() + p.get_width()) for p in grey] == [(0, 2), (0, 5), (0.5, 6)]


def test_by_steps_the_picture_does_not_depend_on_how_long_they_take():
    asks = [Ask((1, 2), 2), Ask((1,), 5), Ask((1, 2, 3), 1, 0.5), Ask((1,), 1, 90.0)]
    pictures = []
    for seconds in (0.3, 0.7):
        run = simulate(asks, schedule_continuous, Limits(2), lambda tokens, s=seconds: s * tokens)
        (axis,) = gantt({"run": run}, by_step=True).axes
        pictures.append([boxes(axis, ORANGE), boxes(axis, BLUE)])
    assert pictures[0] == pictures[1]
    assert pictures[0][0] == [(0, 0, 1), (1, 0, 1), (2, 2, 3), (3, 5, 6)]
    last = counted_in_steps(run).requests[3]
    assert (last.arrival_time, last.scheduled_time, last.finish_time) == (5, 5, 6)


def test_occupancy_counts_the_requests_of_each_step(runs):
    assert mean_rows(runs["static"]) == pytest.approx(8 / 6)
    assert mean_rows(runs["continuous"]) == pytest.approx(8 / 5)
    (axis,) = occupancy(runs, 2).axes
    assert axis.patches[0].get_data().values.tolist() == [2, 2, 1, 1, 1, 1]
    assert axis.patches[1].get_data().values.tolist() == [2, 2, 2, 1, 1]
