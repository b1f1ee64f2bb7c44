"""A store as that of a learner who has solved notebooks: their answers kept, their kernels written.

With it a later notebook runs as it does for such a learner, though the earlier ones were not run.
"""

import ast
import os
from collections.abc import Iterable
from pathlib import Path

from nbformat import NotebookNode

from ..exercise import get_exercise
from ..native.ladder import get_ladder
from ..native.student import solved_text, write_solved
from .build import Lesson, lessons, solution
from .calls import CHECK_CALL, KERNEL_CALL


def write_solved_store(store: Path, solved: Iterable[Lesson]) -> None:
    """Write the answers of some notebooks' solutions below `store`, and all native kernels, solved.

    Args:
        store: what $COURSE_STORE is to be.
        solved: the notebooks whose answers are kept.
    """
    write_solved(store / "student")
    answers = store / "answers"
    answers.mkdir(parents=True, exist_ok=True)
    for lesson in solved:
        notebook = solution(lesson)
        for exercise_id, source in answer_cells(notebook).items():
            _write(answers / f"{exercise_id}.py", source)
        for cell in notebook.cells:
            for name, rung in KERNEL_CALL.findall(cell.source) if cell.cell_type == "code" else ():
                found = get_ladder(name).rung(rung)
                _write(answers / f"{found.id}{found.suffix}", solved_text(found))


def before(lesson: Lesson) -> list[Lesson]:
    """The notebooks that come before this one."""
    return [other for other in lessons() if other.stem < lesson.stem]


def answer_cells(notebook: NotebookNode) -> dict[str, str]:
    """Id of each exercise that a notebook checks -> the source of the cell that defines the answer."""
    found: dict[str, str] = {}
    defined: dict[str, str] = {}
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        for name in _definitions(cell.source):
            defined[name] = cell.source
        for exercise_id in CHECK_CALL.findall(cell.source):
            name = get_exercise(exercise_id).name
            if name in defined:
                found[exercise_id] = defined[name]
    return found


def _definitions(source: str) -> list[str]:
    """Names that a cell defines with `def` or `class`."""
    try:
        body = ast.parse(source).body
    except SyntaxError:  # a magic
        return []
    return [node.name for node in body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]


def _write(path: Path, text: str) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
