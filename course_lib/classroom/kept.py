"""Keep a right answer, and give it back to later notebooks.

What is kept is the text of the cell that defined it. It is run again in a fresh module with the declared
names alone, so that a kept answer never depends on what else lay around in the notebook that day.
"""

import contextlib
import io
import itertools
import linecache
import os
import sys
import types
from pathlib import Path

from ..paths import store_dir
from .exercise import Exercise, get_exercise
from .judge import judge
from .source import definition_source
from .verdict import State

_serial = itertools.count()


class CannotKeep(Exception):
    """A right answer that does not stand on its own; the message says what it lacks."""


def kept(exercise_id: str):
    """The learner's right answer to an exercise, else the reference version.

    Args:
        exercise_id: as in `check`, for example "kv_cache.concat".

    Raises:
        UnknownExercise: no exercise has this id.
        CannotKeep: what was kept runs no longer, for example since a package it imports is gone.
    """
    exercise = get_exercise(exercise_id)
    source = kept_source(exercise_id)
    if source is None:
        return exercise.reference
    try:
        return run_alone(exercise, source)
    except CannotKeep as reason:
        raise CannotKeep(
            f"Your kept answer to {exercise_id} runs no longer. {reason} Run its check again in notebook "
            f"{exercise.notebook}, or remove {_path(exercise_id)} to go on with the reference."
        ) from reason


def is_kept(exercise_id: str) -> bool:
    return _path(exercise_id).exists()


def kept_source(exercise_id: str) -> str | None:
    path = _path(exercise_id)
    return path.read_text(encoding="utf-8") if path.exists() else None


def keep(exercise: Exercise, answer) -> None:
    """Store the source of a right answer, after proving that it is right on its own.

    Raises:
        CannotKeep: its source is not found, or it needs a name that its cell does not define.
    """
    source = definition_source(answer)
    if source is None:
        raise CannotKeep(
            f"The source of `{exercise.name}` was not found. Define it with `def` or `class` in a cell of "
            "the notebook."
        )
    alone = run_alone(exercise, source)
    verdict = judge(exercise, alone)
    if verdict.state is not State.RIGHT:
        raise CannotKeep(_explain(verdict.failure.message if verdict.failure else "a part is missing"))
    path = _path(exercise.id)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(source, encoding="utf-8")
    os.replace(temporary, path)


def run_alone(exercise: Exercise, source: str, name: str | None = None):
    """Run an answer's source in a fresh module and return the answer.

    Args:
        name: the name that the source gives it; None for the exercise's.

    Raises:
        CannotKeep: the source fails to run on its own, or does not define the exercise's name.
    """
    serial = next(_serial)
    filename = f"<kept {exercise.id} {serial}>"
    module = types.ModuleType(f"kept_{exercise.id.replace('.', '_')}_{serial}")
    # dataclasses look their module up; without this line a kept @dataclass fails to build.
    sys.modules[module.__name__] = module
    vars(module).update(exercise.names)
    vars(module).update({get_exercise(used).name: kept(used) for used in exercise.uses})
    # An answer cell may also hold its check: alone, it changes nothing.
    vars(module)["check"] = lambda _id, answer: answer
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(source, filename, "exec"), vars(module))
    except Exception as raised:
        raise CannotKeep(_explain(f"{type(raised).__name__}: {raised}")) from raised
    name = name or exercise.name
    if not hasattr(module, name):
        raise CannotKeep(f"The cell that defines the answer does not give it the name `{name}`.")
    return getattr(module, name)


def _explain(message: str) -> str:
    first = message.splitlines()[0]
    if first.startswith("NameError: name '"):
        name = first.split("'")[1]
        return (
            f"It uses `{name}`, which its own cell does not define. Move `{name}` into the answer's cell (or "
            "import it there) and run both cells again."
        )
    return f"Run on its own, without the rest of the notebook, its cell fails: {first}"


def _path(exercise_id: str) -> Path:
    return store_dir() / "answers" / f"{exercise_id}.py"
