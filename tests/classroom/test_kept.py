"""Kept answers stand on their own."""

import textwrap

import pytest

from course_lib.classroom.check import check
from course_lib.classroom.judge import judge
from course_lib.classroom.kept import CannotKeep, kept, kept_source, run_alone
from course_lib.classroom.source import definition_source
from course_lib.classroom.verdict import State

from .test_check import RIGHT


def test_without_a_right_answer_the_reference_is_given(toy):
    assert kept("toy.stack") is toy.reference


def test_a_kept_answer_that_runs_no_longer_says_what_to_do(toy, cell, own_store):
    check("toy.stack", cell(RIGHT)["Stack"])
    path = own_store / "answers" / "toy.stack.py"
    path.write_text("import a_package_that_is_gone")
    with pytest.raises(CannotKeep, match="(?s)a_package_that_is_gone.*check again.*remove"):
        kept("toy.stack")


def test_a_helper_below_the_class_is_kept_with_it(toy, cell):
    check("toy.stack", cell(RIGHT)["Stack"])
    assert "def add_up" in kept_source("toy.stack")


def test_a_helper_in_another_cell_is_named_in_the_panel(toy, cell, capsys):
    class_part, helper = RIGHT.split("\n\n\ndef add_up")
    cell("def add_up" + helper)
    mine = cell(class_part)["Stack"]
    assert check("toy.stack", mine) is mine
    shown = capsys.readouterr().out
    assert "Right, but not kept" in shown and "`add_up`" in shown and "answer's cell" in shown
    assert kept_source("toy.stack") is None


def test_a_class_that_returns_new_instances_of_itself_is_kept(toy, cell):
    check("toy.stack", cell(RIGHT)["Stack"])
    alone = kept("toy.stack")
    assert type(alone().copy()) is alone


def test_a_cell_that_also_holds_its_check_is_kept(toy, cell):
    namespace = cell("def check(id, answer): return answer\n")
    source = RIGHT + '\nStack = check("toy.stack", Stack)\n'
    check("toy.stack", cell(source)["Stack"])
    assert namespace and kept_source("toy.stack") == source


def test_a_dataclass_is_kept(toy, cell):
    source = textwrap.dedent("""
        from __future__ import annotations
        from dataclasses import dataclass, field

        @dataclass
        class Stack:
            items: list = field(default_factory=list)

            def push(self, x):
                self.items.append(x)

            def total(self):
                return sum(self.items[1:], self.items[0])

            def copy(self) -> Stack:
                return Stack(list(self.items))
        """)
    check("toy.stack", cell(source)["Stack"])
    assert judge(toy, kept("toy.stack")).state is State.RIGHT


def test_an_answer_whose_cell_fails_alone_says_why(toy):
    with pytest.raises(CannotKeep, match="ZeroDivisionError"):
        run_alone(toy, "Stack = 1 / 0")


def test_a_cell_that_gives_the_answer_another_name_cannot_be_kept(toy, cell, capsys):
    check("toy.stack", cell(RIGHT.replace("Stack", "Other"))["Other"])
    assert "does not give it the name `Stack`" in capsys.readouterr().out


def test_source_of_a_function_in_a_file_is_the_function_alone():
    source = definition_source(test_source_of_a_function_in_a_file_is_the_function_alone)
    assert source.startswith("def test_source_of_a_function")
    assert len(source.splitlines()) == 4


def test_a_class_without_methods_of_its_own_has_no_source():
    assert definition_source(type("Empty", (), {})) is None
