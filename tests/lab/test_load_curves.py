"""Throughput and latency of a load, read back from the charts."""

import numpy as np
import pytest

from course_lib.lab.load_curves import load_curves, one_load
from course_lib.lab.serving import Ask, arriving, simulate
from course_lib.techniques.scheduling import Limits, schedule_continuous, schedule_static


def run(rate, schedule):
    asks = arriving([Ask((1, 2), 3 + i % 5) for i in range(20)], np.arange(20) / rate)
    return simulate(asks, schedule, Limits(2), lambda tokens: 0.5)


@pytest.fixture
def runs():
    return {"static": [run(r, schedule_static) for r in (0.2, 0.5, 2)],
            "yours": [run(r, schedule_continuous) for r in (0.2, 0.5, 2)]}  # fmt: skip


def test_lines_are_runs_and_hollow_dots_are_others(runs):
    left, right = load_curves([0.2, 0.5, 2], {"yours": runs["yours"]}, {"yours": runs["static"]}).axes
    assert [line.get_ydata().tolist() for line in left.lines] == [
        [r.tokens_per_second for r in runs[name]] for name in ("yours", "static")
    ]
    assert left.lines[1].get_markerfacecolor() == "white" and left.lines[1].get_linestyle() == "None"
    assert right.lines[0].get_ydata() == pytest.approx([r.latency(50) for r in runs["yours"]])
    assert "(s)" in right.get_ylabel()


def test_one_load_shows_the_share_that_has_its_answer(runs):
    few = {name: served[2] for name, served in runs.items()}
    left, right = one_load(few, "a load").axes
    shares = left.lines[1].get_ydata()
    assert shares[-1] == 100 and left.lines[1].get_xdata()[-1] == pytest.approx(few["yours"].latency(100))
    assert right.lines[0].get_ydata().max() == max(step.num_waiting for step in few["static"].steps)
