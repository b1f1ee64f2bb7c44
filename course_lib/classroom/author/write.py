"""Write the notebooks that sources give, and never over a learner's work."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from ...paths import CHECKOUT, store_dir
from .build import Lesson, fingerprint, is_edited, solution, starter
from .execute import execute
from .solved import before, write_solved_store


class Edited(Exception):
    """A starter was edited, so it is not overwritten."""


def write_all(only: Iterable[Lesson], say: Callable[[str], None], again: bool = False) -> None:
    """Write starters and solutions; solutions run only when their source has changed (or `again`).

    Raises:
        Edited: a starter holds edits; everything else was written before.
        ExecutionError: a solution does not run.
    """
    edited = []
    for lesson in only:
        try:
            say(f"{lesson.stem}: starter {'written' if write_starter(lesson) else 'unchanged'}")
        except Edited as error:
            edited.append(str(error))
        new = solution(lesson)
        if not again and lesson.solution.exists():
            old = nbformat.read(lesson.solution, as_version=4)
            if _same_cells(old, new):
                say(f"{lesson.stem}: solution unchanged")
                continue
        say(f"{lesson.stem}: running the solution ...")
        with tempfile.TemporaryDirectory() as store:
            write_solved_store(Path(store), before(lesson))
            seconds = execute(new, lesson.stem, Path(store))
        _write(new, lesson.solution)
        say(f"{lesson.stem}: solution written, {seconds:.0f} s")
    if edited:
        raise Edited("\n".join(edited))


def write_starter(lesson: Lesson) -> bool:
    """Write the starter unless it is there already; returns whether a file was written.

    Raises:
        Edited: the file holds edits. Nothing was written.
    """
    new = starter(lesson)
    if lesson.starter.exists():
        old = nbformat.read(lesson.starter, as_version=4)
        if _same_cells(old, new):
            return False
        if is_edited(old):
            raise Edited(
                f"{lesson.starter.name} was edited, so it is left alone. To start over (a backup is kept): "
                f"course reset {lesson.stem}"
            )
    _write(new, lesson.starter)
    return True


def reset(lesson: Lesson) -> Path | None:
    """Put the starter back as it was given, and keep what was there.

    Returns:
        The backup's path, or None when there was nothing to keep.
    """
    backup = None
    if lesson.starter.exists():
        stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        backup = store_dir() / "backups" / f"{lesson.stem}_{stamp}.ipynb"
        backup.parent.mkdir(parents=True, exist_ok=True)
        number = 1
        while backup.exists():
            number += 1
            backup = backup.with_name(f"{lesson.stem}_{stamp}_{number}.ipynb")
        shutil.copy2(lesson.starter, backup)
    _write(starter(lesson), lesson.starter)
    return backup


def shown(path: Path) -> str:
    """A path as the learner knows it: relative to the checkout where it lies inside."""
    return str(path.relative_to(CHECKOUT)) if path.is_relative_to(CHECKOUT) else str(path)


def _same_cells(old: NotebookNode, new: NotebookNode) -> bool:
    same_ids = [c.get("id") for c in old.cells] == [c.id for c in new.cells]
    same_tags = [c.metadata.get("tags") for c in old.cells] == [c.metadata.get("tags") for c in new.cells]
    return same_ids and same_tags and fingerprint(old) == fingerprint(new)


def _write(notebook: NotebookNode, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    nbformat.write(notebook, temporary)
    os.replace(temporary, path)
