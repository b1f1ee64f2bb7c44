"""The copies that nbval runs: generated from the sources, with the outputs that are wanted of them.

Starters: every exercise is untouched, so every check cell must show the amber panel, and no cell may raise.
Solutions: the outputs stored in `notebooks/solutions`.
"""

import re
import shutil
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_output

from ..exercise import get_exercise
from ..native.ladder import get_ladder
from ..native.student import write_solved
from ..panel import bundle
from ..verdict import State, Verdict
from .build import Lesson, SourceError, solution, starter

CHECK_CALL = re.compile(r"^(?:\w+ = )?check\(\s*\"([\w.]+)\"", re.MULTILINE)
KERNEL_CALL = re.compile(r"^(?:\w+ = )?check_kernel\(\s*\"([\w.]+)\",\s*rung=\"(\w+)\"", re.MULTILINE)


def write_copies(folder: Path, only: list[Lesson]) -> None:
    """Write `folder/starters` and `folder/solutions`, emptied first.

    The solutions run with the store `folder/store-solutions`, which holds the native kernels, solved; the
    starters with `folder/store-starters`, where nobody has written any.
    """
    for kind, make in (("starters", _starter_copy), ("solutions", _solution_copy)):
        shutil.rmtree(folder / kind, ignore_errors=True)
        (folder / kind).mkdir(parents=True)
        shutil.rmtree(folder / f"store-{kind}", ignore_errors=True)
        for lesson in only:
            nbformat.write(make(lesson), folder / kind / f"{lesson.stem}.ipynb")
    write_solved(folder / "store-solutions" / "student")


def checked_ids(notebook: NotebookNode) -> list[str]:
    """Ids of the exercises that the notebook checks, in order."""
    return [i for c in notebook.cells if c.cell_type == "code" for i in CHECK_CALL.findall(c.source)]


def checked_rungs(notebook: NotebookNode) -> list[str]:
    """Ids of the rungs of native ladders that the notebook checks, in order."""
    code = [c.source for c in notebook.cells if c.cell_type == "code"]
    return [f"{ladder}.{rung}" for text in code for ladder, rung in KERNEL_CALL.findall(text)]


def _starter_copy(lesson: Lesson) -> NotebookNode:
    notebook = starter(lesson)
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        wanted = [get_exercise(i) for i in CHECK_CALL.findall(cell.source)]
        wanted += [get_ladder(ladder).rung(rung) for ladder, rung in KERNEL_CALL.findall(cell.source)]
        if wanted:
            cell.metadata.tags = [*cell.metadata.get("tags", []), "nbval-check-output"]
            cell.execution_count = 1  # nbval compares the outputs of cells that were run
            cell.outputs = [
                new_output("display_data", data=bundle(Verdict(exercise, State.UNTOUCHED, ())))
                for exercise in wanted
            ]
    return notebook


def _solution_copy(lesson: Lesson) -> NotebookNode:
    notebook = solution(lesson)
    if not lesson.solution.exists():
        raise SourceError(f"{lesson.solution.name} has not been executed yet. Run: course notebooks")
    stored = {c.get("id"): c for c in nbformat.read(lesson.solution, as_version=4).cells}
    for cell in notebook.cells:
        twin = stored.get(cell.id)
        if twin is None or twin.source != cell.source:
            raise SourceError(f"{lesson.solution.name} differs from its source. Run: course notebooks")
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = twin.outputs, twin.execution_count
    return notebook
