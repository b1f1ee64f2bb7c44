"""Find where the stored notebooks no longer say what their sources say."""

import nbformat
from nbformat import NotebookNode

from . import build
from .build import Lesson, lessons, solution, starter


def drift(only: list[Lesson] | None = None) -> list[str]:
    """Compare every stored starter and solution with what its source gives now.

    Args:
        only: these notebooks; None for all, and for generated notebooks whose source is gone.

    Returns:
        One sentence a difference; empty when nothing has drifted.
    """
    found = _orphans() if only is None else []
    for lesson in only or lessons():
        for wanted, path in ((starter(lesson), lesson.starter), (solution(lesson), lesson.solution)):
            name = f"{path.parent.name}/{path.name}"
            if not path.exists():
                found.append(f"{name} is missing.")
                continue
            have = nbformat.read(path, as_version=4)
            found += [f"{name}: {words}" for words in _differences(have, wanted)]
            if path == lesson.solution:
                found += [f"{name}: {words}" for words in _unexecuted(have)]
    return found


def _orphans() -> list[str]:
    """Generated notebooks without a source: learners would open a lesson that the course does not have."""
    stems = {lesson.stem for lesson in lessons()}
    found = []
    for folder in (build.NOTEBOOKS, build.NOTEBOOKS / "solutions"):
        for path in sorted(folder.glob("*.ipynb")):
            generated = "course" in nbformat.read(path, as_version=4).metadata  # not a learner's own
            if path.stem not in stems and generated:
                found.append(f"{folder.name}/{path.name} has no source.")
    return found


def _differences(have: NotebookNode, wanted: NotebookNode) -> list[str]:
    if len(have.cells) != len(wanted.cells):
        return [f"has {len(have.cells)} cells, its source gives {len(wanted.cells)}."]
    return [
        f"cell {index} (id {have_cell.get('id')}) differs from its source."
        for index, (have_cell, wanted_cell) in enumerate(zip(have.cells, wanted.cells))
        if _face(have_cell) != _face(wanted_cell)
    ]


def _face(cell: NotebookNode) -> tuple:
    return cell.get("id"), cell.cell_type, cell.source, tuple(cell.metadata.get("tags", []))


def _unexecuted(notebook: NotebookNode) -> list[str]:
    return [
        f"cell {index} was never executed."
        for index, cell in enumerate(notebook.cells)
        if cell.cell_type == "code" and cell.source.strip() and cell.execution_count is None
    ]
