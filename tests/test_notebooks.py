"""What every notebook of the course has, read from the sources: learners' own files are not looked at."""

import re

import pytest

from course_lib.classroom.author.build import lessons, solution, starter
from course_lib.classroom.author.calls import checked_ids, checked_rungs
from course_lib.classroom.exercise import exercises_of, notebooks
from course_lib.classroom.native.ladder import rungs_of

LESSONS = {lesson.stem: lesson for lesson in lessons()}
each_lesson = pytest.mark.parametrize("lesson", LESSONS.values(), ids=LESSONS)


def code(notebook):
    return [c for c in notebook.cells if c.cell_type == "code"]


def prose(notebook):
    return "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")


def test_every_module_of_exercises_belongs_to_a_notebook():
    assert set(notebooks()) <= {stem[3:] for stem in LESSONS}


@each_lesson
def test_a_notebook_checks_all_of_its_exercises_in_order(lesson):
    assert checked_ids(solution(lesson)) == [e.id for e in exercises_of(lesson.stem[3:])]
    assert checked_rungs(solution(lesson)) == [r.id for r in rungs_of(lesson.stem[3:])]


@each_lesson
def test_a_starter_has_a_stub_for_every_exercise_and_leaks_nothing(lesson):
    given = "\n".join(c.source for c in starter(lesson).cells)
    assert "SOLUTION" not in given
    assert given.count('raise NotImplementedError("yours to write') >= len(exercises_of(lesson.stem[3:]))


@each_lesson
def test_each_exercise_has_three_hints(lesson):
    hints = re.findall(r"<summary>Hint (\d)</summary>", prose(starter(lesson)))
    assert hints == ["1", "2", "3"] * (len(exercises_of(lesson.stem[3:])) + len(rungs_of(lesson.stem[3:])))


@each_lesson
def test_a_notebook_asks_three_to_five_questions_and_answers_them(lesson):
    assert 3 <= prose(starter(lesson)).count("<summary>Answer</summary>") <= 5


@each_lesson
def test_code_cells_are_short(lesson):
    long = [c.source.splitlines()[0] for c in code(solution(lesson)) if len(c.source.splitlines()) > 40]
    assert not long


@each_lesson
def test_a_notebook_never_shells_out(lesson):
    assert not [c.source for c in code(solution(lesson)) if re.search(r"^\s*[!%]", c.source, re.MULTILINE)]


@each_lesson
def test_a_notebook_has_a_widget_and_figures_and_ends_with_progress(lesson):
    cells = code(solution(lesson))
    text = "\n".join(c.source for c in cells)
    assert "ipywidgets" in text
    assert text.count("show(") >= 4
    assert cells[-1].source == f'show_progress("{lesson.stem[3:]}")'
