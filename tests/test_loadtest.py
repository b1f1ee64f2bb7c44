"""The load test: a small one passes, and what it is to find, it finds."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from bench.loadtest import EMPTY, Load, Rest, leaks
from course_lib.lab.http_load import Reply
from course_lib.paths import CHECKOUT

pytestmark = pytest.mark.model


def test_a_small_load_is_served_and_leaves_nothing(tmp_path):
    command = [sys.executable, "-m", "bench.loadtest", "--requests", "9", "--rates", "8", "--json", tmp_path / "out.json"]
    ran = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    report = json.loads((tmp_path / "out.json").read_text())
    (row,) = report["rates"]
    assert (row["answered"], row["wrong_or_lost"]) == (9, 0) and row["ttft"][0] < row["end_to_end"][0]
    assert report["killed"]["cancelled"] >= 1 and report["failures"] == []
    assert len(report["bad"]["statuses"]) == 40


@pytest.fixture(scope="module")
def load_():
    return Load(2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, None),
        ({"text": "Something else entirely."}, "alone"),
        ({"text": ""}, "alone"),
        ({"text": lambda text: text[:-4]}, "alone"),
        ({"text": lambda text: text[4:]}, "alone"),
        ({"status": 429, "error": "too many"}, "was lost: status 429, too many"),
        ({"finish_reason": None}, "was lost"),
        ({"error": "the stream broke off"}, "was lost"),
    ],
)
@pytest.mark.parametrize("index", [0, 1])
def test_what_is_wrong_or_lost_is_found(load_, change, words, index):
    if callable(change.get("text")):
        change = {"text": change["text"](load_.texts[index])}
    reply = replace(Reply(0.0, 200, load_.texts[index], [0.1], 0.2, "length"), **change)
    failures = []
    load_.check("here", [index], [reply], failures)
    assert (words is None and not failures) or words in failures[0]


def test_what_is_left_behind_is_found():
    start = Rest(dict.fromkeys(EMPTY, 0.0) | {"active_memory_bytes": 1e8}, connections=0, threads=10, rss=10**8)
    failures = []
    leaks(start, start, failures)
    assert not failures
    for name in EMPTY:
        leaks(start, replace(start, gauges=start.gauges | {name: 1.0}), failures)
        assert name in failures.pop() and not failures
    for change in ({"connections": 1}, {"threads": 11}, {"rss": 2 * 10**8}, {"gauges": start.gauges | {"active_memory_bytes": 2e8}}):
        leaks(start, replace(start, **change), failures)
        assert failures.pop().startswith("left behind") and not failures
