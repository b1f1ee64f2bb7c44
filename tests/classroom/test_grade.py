"""`course grade`: right is right, and whatever else is handed in becomes a row of the table."""

import json
import sys
import time

import nbformat
import pytest

from course_lib.classroom.author.build import find_lesson, solution
from course_lib.classroom.grade import as_json, grade, grader, table
from course_lib.classroom.grade.submission import NoSubmission, find_answer, find_submission, read_cells
from course_lib.cli import main

LESSON = find_lesson("00")
RIGHT = """
import time

import mlx.core as mx
import numpy as np


def median_time(fn, rounds=5, clock=time.perf_counter):
    mx.eval(fn())
    seconds = []
    for _ in range(rounds):
        begin = clock()
        mx.eval(fn())
        seconds.append(clock() - begin)
    return float(np.median(seconds))
"""


def code(*sources):
    return [nbformat.v4.new_code_cell(source) for source in sources]


def hand_in(folder, *cells):
    """A folder of notebooks with notebook 00, made of these cells."""
    (folder / "notebooks").mkdir(parents=True)
    path = folder / "notebooks" / f"{LESSON.stem}.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=code(*cells)), path)
    return path


def rows(folder):
    return {row.id.split(".")[1]: row.outcome for row in grade(folder, [LESSON]).rows}


def one(tmp_path, *cells):
    """What becomes of `median_time`, alone in its notebook."""
    hand_in(tmp_path, *cells)
    exercise = next(e for e in grader.exercises_of("start_here") if e.name == "median_time")
    return grader._grade_exercise(exercise, read_cells(tmp_path / "notebooks" / f"{LESSON.stem}.ipynb"), tmp_path, tmp_path / "s")


def test_a_solved_notebook_is_all_right_and_its_file_is_left_as_it_was(tmp_path, capsys):
    path = tmp_path / "notebooks" / f"{LESSON.stem}.ipynb"
    path.parent.mkdir()
    nbformat.write(solution(LESSON), path)
    before = path.read_bytes(), path.stat().st_mtime_ns
    out = tmp_path / "grade.json"
    assert main(["grade", str(tmp_path), "--only", "00", "--json", str(out)]) == 0
    data = json.loads(out.read_text())
    assert data["complete"] and {e["state"] for e in data["exercises"]} == {"right"}
    assert "3 of 3 right, and 1 of 1 stretch" in capsys.readouterr().out
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert {p.name for p in tmp_path.iterdir()} == {"notebooks", "grade.json"}


def test_each_kind_of_answer_has_its_row(tmp_path):
    hand_in(
        tmp_path,
        "def rms_norm(x, weight, eps=1e-5):\n    raise NotImplementedError",
        "def median_time(fn, rounds=5, clock=None):\n    import os\n    os._exit(0)",
        "def greedy_generate(model, tokens, max_tokens, stop_tokens=()):\n    return list(tokens)",
    )
    found = rows(tmp_path)
    states = {name: outcome.state for name, outcome in found.items()}
    assert states == {"rms_norm": "untouched", "median_time": "crashed", "greedy_generate": "wrong", "top_p": "missing"}
    assert "before there was a verdict" in found["median_time"].message


def test_a_check_is_given_any_name(tmp_path):
    cells = (
        "%%time\n" + RIGHT.replace("def median_time", "def mine"),
        'check("start_here.median_time", mine)',
    )
    assert one(tmp_path, *cells).state == "right"
    exercise = next(e for e in grader.exercises_of("start_here") if e.name == "median_time")
    assert find_answer([RIGHT.replace("def median_time", "def mine"), cells[1]], exercise)[0] == "mine"


def test_the_last_definition_before_the_check_counts(tmp_path):
    exercise = next(e for e in grader.exercises_of("start_here") if e.name == "median_time")
    cells = [
        "def median_time(): return 1",
        "def median_time(): return 2",
        'median_time = check("start_here.median_time", median_time)',
        "def median_time(): return 3",
    ]
    assert "return 2" in find_answer(cells, exercise)[1]
    assert "return 3" in find_answer([cells[0], cells[3]], exercise)[1]  # nobody calls the check


@pytest.mark.parametrize(
    ("source", "state"),
    [
        ("def median_time(fn):\n    return (", "wrong"),
        ("%%time\ndef median_time(fn):\n    return helper(fn)", "wrong"),
        ("import os, signal\ndef median_time(fn, rounds=5, clock=None):\n    os.kill(os.getpid(), signal.SIGSEGV)", "crashed"),
        ("raise SystemExit(0)\ndef median_time(fn): pass", "crashed"),
        ("def median_time(fn):\n    \x1b[2J", "wrong"),
    ],
    ids=["syntax", "helper elsewhere", "segfault", "exits", "escape"],
)
def test_broken_and_hostile_cells_become_a_row(tmp_path, source, state):
    outcome = one(tmp_path, source)
    assert outcome.state == state, outcome
    assert outcome.message


@pytest.mark.skipif(sys.platform != "linux", reason="macOS enforces no such limit")
def test_memory_is_bounded(tmp_path):
    outcome = one(tmp_path, "def median_time(fn, rounds=5, clock=None):\n    return len(bytearray(12 * 2**30))")
    assert outcome.state == "wrong" and "MemoryError" in outcome.message


def test_a_forged_report_of_more_cases_than_there_are_does_not_count():
    assert grader._read('{"state": "right", "passed": 99}', 5) is None
    assert grader._read('{"state": "right", "passed": 4, "seconds": 0.0}', 5) is None
    assert grader._read('{"state": "excellent", "passed": 5}', 5) is None
    assert grader._read("[1]", 5) is None and grader._read("", 5) is None
    assert grader._read('{"state": "right", "passed": 5, "seconds": 0.1}', 5).state == "right"


def test_what_never_ends_is_stopped_with_all_that_it_started(tmp_path):
    marker = tmp_path / "still-there"
    source = (
        "import signal, subprocess, sys\n"
        "signal.signal(signal.SIGALRM, signal.SIG_IGN)\n"
        f"subprocess.Popen([sys.executable, '-c', \"import time; time.sleep(8); open({str(marker)!r}, 'w')\"])\n"
        "while True: pass\n"
    )
    place = tmp_path / "place"
    (place / "home").mkdir(parents=True)
    task = {"kind": "exercise", "id": "start_here.median_time", "name": "median_time", "source": source}
    (place / "task.json").write_text(json.dumps(task))
    begin = time.monotonic()
    line, status, stopped = grader._child(place, 6)
    assert stopped and status < 0 and line == "" and time.monotonic() - begin < 9
    time.sleep(max(0, begin + 11 - time.monotonic()))
    assert not marker.exists()


@pytest.mark.parametrize("text", ["", "{", '{"cells": 3}', "[]", '{"cells": [{}], "nbformat": 4}'])
def test_a_file_that_is_no_notebook_is_a_row_for_each_exercise(tmp_path, text):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / f"{LESSON.stem}.ipynb").write_text(text)
    found = rows(tmp_path)
    assert {outcome.state for outcome in found.values()} == {"missing"}


def test_a_later_answer_runs_on_the_earlier_one(tmp_path):
    """`kv_cache.attention` calls `causal_mask`: the learner's where it is right."""
    lesson = find_lesson("01")
    path = tmp_path / "notebooks" / f"{lesson.stem}.ipynb"
    path.parent.mkdir()
    wanted = [c for c in solution(lesson).cells if c.cell_type == "code" and c.source.startswith(("def causal_mask", "def attention"))]
    path_cells = [*wanted, *code("def generate_cached(model, tokens, max_tokens, stop_tokens=()):\n    return 1")]
    nbformat.write(nbformat.v4.new_notebook(cells=path_cells), path)
    store = tmp_path / "store"
    exercises = {e.name: e for e in grader.exercises_of("kv_cache")}
    cells = read_cells(path)
    for name in ("causal_mask", "attention"):
        assert grader._grade_exercise(exercises[name], cells, tmp_path, store).state == "right"
    assert "def causal_mask" in (store / "answers" / "kv_cache.causal_mask.py").read_text()


def test_native_files_are_found_beside_the_notebooks(tmp_path):
    hand_in(tmp_path, "1")
    (tmp_path / "extensions" / "student").mkdir(parents=True)
    for path in (tmp_path, tmp_path / "notebooks", tmp_path / "notebooks" / f"{LESSON.stem}.ipynb"):
        assert find_submission(path).kernels == tmp_path / "extensions" / "student"


def test_nothing_to_grade_is_an_error_of_its_own(tmp_path, capsys):
    with pytest.raises(NoSubmission, match="no checkout"):
        grade(tmp_path)
    assert main(["grade", str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_the_table_cannot_rewrite_the_terminal():
    row = grader.Graded("00_x", "x.y", "t", False, grader.Outcome("wrong", 0, 1, "\x1b[31mred\nnext"))
    text = table(grader.Grade("p", (row,)), verbose=True)
    assert "\x1b" not in text and "red" in text and not as_json(grader.Grade("p", (row,)))["complete"]
