"""A small exercise of the tests' own, and cells as a notebook runs them."""

import importlib
import itertools
import linecache

import mlx.core as mx
import pytest

from course_lib.classroom.exercise import Exercise


class ReferenceStack:
    """The reference answer: a stack of arrays."""

    def __init__(self):
        self.items = []

    def push(self, x):
        self.items.append(x)

    def total(self):
        return sum(self.items[1:], self.items[0])

    def copy(self):
        twin = ReferenceStack()
        twin.items = list(self.items)
        return twin


def make_exercise():
    exercise = Exercise(
        "toy.stack",
        "A stack of arrays",
        name="Stack",
        reference=ReferenceStack,
        names={"mx": mx},
        mistakes={"only_last": "You return the last array alone.", "no_items": "Create `items` in `__init__`."},
        time_limit=1.0,
    )

    @exercise.case("the sum of two arrays", errors={"no_items": "AttributeError.*items"})
    def _(answer, t):
        a, b = t.normal("a", 3), t.normal("b", 3)
        stack = answer()
        stack.push(a)
        stack.push(b)
        t.close("stack.total()", stack.total(), a + b, mistakes={"only_last": b})

    @exercise.case("a copy has the same sum")
    def _(answer, t):
        a = t.normal("a", 2)
        stack = answer()
        stack.push(a)
        t.close("stack.copy().total()", stack.copy().total(), a + 0)

    return exercise


@pytest.fixture
def toy(monkeypatch):
    """The exercise, known to `check` and `kept` under its id."""
    exercise = make_exercise()
    for name in ("check", "kept"):  # by name: the package's attributes `check` and `kept` are the functions
        module = importlib.import_module(f"course_lib.classroom.{name}")
        monkeypatch.setattr(module, "get_exercise", lambda id: exercise)
    return exercise


_serial = itertools.count()


@pytest.fixture
def cell():
    """`cell(source)` runs a text as IPython runs a cell: a made-up file name, its lines in linecache."""
    namespace = {"mx": mx, "__name__": "__main__"}

    def run(source):
        filename = f"<cell {next(_serial)}>"
        linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
        exec(compile(source, filename, "exec"), namespace)
        return namespace

    return run
