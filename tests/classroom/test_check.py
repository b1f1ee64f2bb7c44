"""The four states of an exercise, and answers that misbehave."""

import mlx.core as mx
import pytest

from course_lib.classroom.check import check
from course_lib.classroom.exercise import UnknownExercise
from course_lib.classroom.judge import judge
from course_lib.classroom.kept import kept, kept_source
from course_lib.classroom.panel import as_html, text
from course_lib.classroom.progress import read
from course_lib.classroom.verdict import CheckFailed, State

RIGHT = """
class Stack:
    def __init__(self):
        self.items = []

    def push(self, x):
        self.items.append(x)

    def total(self):
        return add_up(self.items)

    def copy(self):
        twin = Stack()
        twin.items = list(self.items)
        return twin


def add_up(items):
    out = mx.zeros_like(items[0])
    for x in items:
        out = out + x
    return out
"""
STUB = """
class Stack:
    def __init__(self):
        raise NotImplementedError
"""
PART = RIGHT.replace("        twin = Stack()\n        twin.items = list(self.items)\n        return twin", "        raise NotImplementedError")
WRONG = RIGHT.replace("add_up(self.items)", "self.items[-1]")


def test_an_untouched_answer_gives_the_reference_and_is_amber(toy, cell, capsys):
    assert check("toy.stack", cell(STUB)["Stack"]) is toy.reference
    assert "not started" in capsys.readouterr().out
    assert read("toy.stack").state is State.UNTOUCHED


def test_a_check_run_twice_does_not_take_the_reference_for_an_answer(toy, cell):
    given = check("toy.stack", cell(STUB)["Stack"])
    assert check("toy.stack", given) is toy.reference
    assert read("toy.stack").state is State.UNTOUCHED
    assert kept_source("toy.stack") is None


def test_a_part_done_answer_shows_what_passes_and_what_is_left(toy, cell, capsys):
    assert check("toy.stack", cell(PART)["Stack"]) is toy.reference
    shown = capsys.readouterr().out
    assert "part-done, 1 of 2" in shown
    assert "✓ the sum of two arrays" in shown and "○ a copy has the same sum" in shown


def test_a_right_answer_is_returned_and_kept(toy, cell, capsys):
    mine = cell(RIGHT)["Stack"]
    assert check("toy.stack", mine) is mine
    assert "right, 2 of 2" in capsys.readouterr().out
    assert kept_source("toy.stack") == RIGHT
    again = kept("toy.stack")
    assert again is not mine and judge(toy, again).state is State.RIGHT


def test_a_wrong_answer_raises_with_the_case_the_numbers_and_the_hint(toy, cell, capsys):
    with pytest.raises(CheckFailed) as failed:
        check("toy.stack", cell(WRONG)["Stack"])
    message = str(failed.value)
    assert "the sum of two arrays" in message
    assert "stack.total() has the right shape but wrong values" in message
    assert "shape" in message and "float32" in message and "at [0]" in message and "largest error" in message
    assert "You return the last array alone." in message
    assert failed.value._render_traceback_() == [
        "CheckFailed: ✗ toy.stack: not right yet, 1 of 2 cases pass (see the panel above)"
    ]
    assert read("toy.stack").state is State.WRONG


def test_a_later_mistake_does_not_lose_the_kept_answer(toy, cell):
    check("toy.stack", cell(RIGHT)["Stack"])
    with pytest.raises(CheckFailed):
        check("toy.stack", cell(WRONG)["Stack"])
    assert kept_source("toy.stack") == RIGHT
    assert read("toy.stack").first_right


@pytest.mark.parametrize("source", [STUB, PART])
def test_strict_mode_wants_every_exercise_solved(toy, cell, monkeypatch, source):
    monkeypatch.setenv("COURSE_STRICT", "1")
    with pytest.raises(CheckFailed):
        check("toy.stack", cell(source)["Stack"])


def test_an_answer_that_raises_shows_the_learners_line(toy, cell):
    source = RIGHT.replace("self.items.append(x)", "self.items.append(x + undefined_name)")
    with pytest.raises(CheckFailed, match="NameError") as failed:
        check("toy.stack", cell(source)["Stack"])
    assert "in your code, line 7: self.items.append(x + undefined_name)" in str(failed.value)


def test_an_exception_can_point_to_a_known_mistake(toy, cell):
    source = RIGHT.replace("        self.items = []", "        pass")
    with pytest.raises(CheckFailed, match="Create `items` in `__init__`"):
        check("toy.stack", cell(source)["Stack"])


@pytest.mark.parametrize(
    "loop",
    ["while True: pass", "while True:\n            try: sum(range(999))\n            except Exception: pass"],
)
def test_an_answer_that_loops_for_ever_is_stopped(toy, cell, loop):
    source = RIGHT.replace("return add_up(self.items)", loop)
    with pytest.raises(CheckFailed, match="stopped after 1 seconds"):
        check("toy.stack", cell(source)["Stack"])


def test_an_answer_that_changes_its_input_in_place_is_told_so(toy, cell):
    source = RIGHT.replace("out = mx.zeros_like(items[0])\n    for x in items:\n        out = out + x", "out = items[0]\n    for x in items[1:]:\n        out += x")
    with pytest.raises(CheckFailed, match="changed its input `a` in place"):
        check("toy.stack", cell(source)["Stack"])


def test_an_answer_that_exits_does_not_end_the_kernel(toy, cell):
    with pytest.raises(CheckFailed, match="SystemExit"):
        check("toy.stack", cell(RIGHT.replace("return add_up(self.items)", "raise SystemExit(3)"))["Stack"])


@pytest.mark.parametrize("answer", [None, 3, mx.zeros(2)])
def test_an_answer_of_the_wrong_kind_is_told_so(toy, answer):
    with pytest.raises(CheckFailed, match="not a function or class"):
        check("toy.stack", answer)


def test_a_value_of_the_wrong_kind_is_described(toy, cell):
    forgot_return = RIGHT.replace("return add_up(self.items)", "add_up(self.items)")
    with pytest.raises(CheckFailed, match="is None \\(is a `return` missing\\?\\)"):
        check("toy.stack", cell(forgot_return)["Stack"])


def test_an_unknown_exercise_lists_the_known_ones():
    with pytest.raises(UnknownExercise, match="start_here.rms_norm"):
        check("start_here.nothing", lambda: None)


def test_the_html_panel_escapes_the_learners_text(toy, cell):
    source = RIGHT.replace("return add_up(self.items)", "raise ValueError('<script>')")
    panel = as_html(judge(toy, cell(source)["Stack"]))
    assert "&lt;script&gt;" in panel and "<script>" not in panel


def test_the_panel_says_the_same_each_time(toy, cell):
    mine = cell(RIGHT)["Stack"]
    assert text(judge(toy, mine)) == text(judge(toy, mine))
