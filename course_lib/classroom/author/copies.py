"""The copies that nbval runs: generated from the sources, with the outputs that are wanted of them.

Starters: every exercise is untouched, so every check cell must show the amber panel, and no cell may raise.
Solutions: the outputs stored in `notebooks/solutions`.
"""

import shutil
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_output

from ..exercise import get_exercise
from ..native.ladder import get_ladder
from ..panel import bundle
from ..verdict import State, Verdict
from .build import Lesson, SourceError, solution, starter
from .calls import CHECK_CALL, KERNEL_CALL
from .solved import before, write_solved_store

def write_copies(folder: Path, only: list[Lesson]) -> None:
    """Write `folder/starters` and `folder/solutions`, emptied first.

    The solutions run with the store `folder/store-solutions`, as of a learner who has solved the notebooks before
    them and written the native kernels; the starters with `folder/store-starters`, where nobody has written any.
    """
    for kind, make in (("starters", _starter_copy), ("solutions", _solution_copy)):
        shutil.rmtree(folder / kind, ignore_errors=True)
        (folder / kind).mkdir(parents=True)
        shutil.rmtree(folder / f"store-{kind}", ignore_errors=True)
        for lesson in only:
            nbformat.write(make(lesson), folder / kind / f"{lesson.stem}.ipynb")
    earlier = {other.stem: other for lesson in only for other in before(lesson)}
    write_solved_store(folder / "store-solutions", earlier.values())


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
