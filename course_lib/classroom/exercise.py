"""An exercise: its name, its reference, its cases, and the mistakes that learners make.

Exercises live in `course_lib/classroom/exercises/`, one module a notebook. The id `kv_cache.concat` names
the exercise `concat` of the module `kv_cache`.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

# Mistakes that any exercise can have; an exercise may word its own hint for them.
COMMON_MISTAKES = {
    "changed_input": (
        "`+=` and `x[i] = ...` update an MLX array in place. Write `x = x + y`, or work on a copy "
        "(`mx.array(x)`)."
    ),
}


@dataclass(frozen=True)
class Case:
    """One statement about the answer.

    Attributes:
        title: what must hold, as a short statement.
        run: `run(answer, trial)`, raises Mismatch.
        errors: name of a known mistake -> regular expression that finds it in `TypeError: message`,
            for mistakes that show as an exception of the answer.
    """

    title: str
    run: Callable
    errors: Mapping[str, str] = field(default_factory=dict)


class Exercise:
    """What `check` needs to judge an answer.

    Args:
        id: `<notebook>.<exercise>`, as in `check("kv_cache.concat", ...)`.
        title: one line for panels and tables.
        name: the name that the answer has in the notebook.
        reference: the reference version: what the notebook uses until the learner's is right.
        mistakes: name of a known mistake -> the hint that fits it.
        names: what an answer may use without defining it, as the notebook's first cell provides it
            (`{"mx": mlx.core}`); a kept answer runs again with these names alone.
        uses: ids of earlier exercises whose answers this one may call by name.
        time_limit: seconds for all cases together.
        stretch: True for the optional exercise at a notebook's end.
    """

    def __init__(
        self,
        id: str,
        title: str,
        *,
        name: str,
        reference,
        mistakes: Mapping[str, str],
        names: Mapping[str, object],
        uses: tuple[str, ...] = (),
        time_limit: float = 20.0,
        stretch: bool = False,
    ):
        self.id = id
        self.title = title
        self.name = name
        self.reference = reference
        self.mistakes = {**COMMON_MISTAKES, **mistakes}
        self.names = dict(names)
        self.uses = uses
        self.time_limit = time_limit
        self.stretch = stretch
        self.cases: list[Case] = []

    # Where the answer is written, for the panel: "Write yours ...".
    place = "in the cell above, run it"

    def case(self, title: str, *, errors: Mapping[str, str] | None = None):
        """Decorator: add `def _(answer, t)` as a case."""

        def add(run):
            self.cases.append(Case(title, run, errors or {}))
            return run

        return add

    @property
    def notebook(self) -> str:
        return self.id.split(".")[0]


class UnknownExercise(KeyError):
    """No exercise has this id."""

    def __str__(self):
        return self.args[0]


def get_exercise(exercise_id: str) -> Exercise:
    """The exercise with this id.

    Raises:
        UnknownExercise: with the ids that exist.
    """
    notebook, _, _ = exercise_id.partition(".")
    if notebook in notebooks():
        for exercise in exercises_of(notebook):
            if exercise.id == exercise_id:
                return exercise
    known = [e.id for n in notebooks() for e in exercises_of(n)]
    raise UnknownExercise(f"There is no exercise {exercise_id!r}. There are: {', '.join(known)}.")


def notebooks() -> list[str]:
    """Names of the modules that define exercises, in the course's order."""
    package = importlib.import_module("course_lib.classroom.exercises")
    found = [m.name for m in pkgutil.iter_modules(package.__path__)]
    return [n for n in package.ORDER if n in found]


def exercises_of(notebook: str) -> list[Exercise]:
    """The exercises of one notebook, in the order in which the module defines them."""
    module = importlib.import_module(f"course_lib.classroom.exercises.{notebook}")
    return [v for v in vars(module).values() if isinstance(v, Exercise)]
