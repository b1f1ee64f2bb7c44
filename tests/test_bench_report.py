"""The runs that are kept are what the tables and the scoreboard show."""

import json

import numpy as np
import pytest

from bench import report
from bench.result import Result
from course_lib.lab.timing import Comparison


@pytest.fixture
def run():
    samples = {"native parts": np.array([1.0, 2.0, 3.0]), "stock mlx-lm": np.array([10.0, 10.0, 30.0])}
    result = Result("model", "decode after 37", "stock mlx-lm", Comparison(samples), 4, "tok", {"native parts": 8.0})
    setting = {"machine": "A machine, 2 cores", "threads": 2, "versions": {"mlx": "1.2"}, "time": "2026-01-02 03:04:05 +0000"}
    return json.loads(json.dumps(setting | {"results": [result.as_json()]}))


def test_a_run_read_back_is_the_one_that_was_written(run):
    (result,) = report.results_of(run)
    assert result.as_json() == run["results"][0]
    assert result.rows()[1][-1] == "" and result.rows()[0][-1] == "8"


def test_tables_show_every_contender_with_its_ratio_and_goal(run):
    text = report.tables({"model": run})
    assert "A machine, 2 cores; 2 threads; mlx 1.2; 2026-01-02." in text
    row = next(line for line in text.splitlines() if "native parts" in line)
    assert [cell.strip() for cell in row.strip("|").split("|")][-2:] == ["10.0", "8"]


def test_the_scoreboard_draws_the_rates_of_one_run(run):
    (ax,) = report.scoreboard({"model": run}).axes
    assert {label.get_text(): bar.get_width() for label, bar in zip(ax.get_yticklabels(), ax.patches)} == {
        "mlx-lm": 0.4, "this course": 2.0}  # fmt: skip


def test_what_is_kept_is_what_is_shown():
    """After a run is kept: python -m bench.report"""
    assert report.TABLES.read_text() == report.tables(report.kept())
