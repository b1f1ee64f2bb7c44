"""Find where the stored notebooks no longer say what their sources say."""

import nbformat
from nbformat import NotebookNode

from .build import Lesson, lessons, solution, starter


def drift(only: list[Lesson] | None = None) -> list[str]:
    """Compare every stored starter and solution with what its source gives now.

    Returns:
        One sentence a difference; empty when nothing has drifted.
    """
    found = []
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
