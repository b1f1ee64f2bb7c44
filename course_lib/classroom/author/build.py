"""From one MyST source to a starter and a solution.

The source is a jupytext MyST file (https://jupytext.readthedocs.io). In its code cells the lines between
`### BEGIN SOLUTION` and `### END SOLUTION` are the solution; the starter has a stub in their place.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jupytext
from nbformat import NotebookNode

from ...paths import NOTEBOOKS

BEGIN = "### BEGIN SOLUTION"
END = "### END SOLUTION"
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


class SourceError(ValueError):
    """A source cannot become a notebook; the message names file and cell."""


@dataclass(frozen=True)
class Lesson:
    """One notebook of the course, by the stem of its source: `01_kv_cache`."""

    stem: str

    @property
    def source(self) -> Path:
        return NOTEBOOKS / "source" / f"{self.stem}.md"

    @property
    def starter(self) -> Path:
        return NOTEBOOKS / f"{self.stem}.ipynb"

    @property
    def solution(self) -> Path:
        return NOTEBOOKS / "solutions" / f"{self.stem}.ipynb"


def lessons() -> list[Lesson]:
    """All notebooks that have a source, in order."""
    return [Lesson(p.stem) for p in sorted((NOTEBOOKS / "source").glob("*.md"))]


def find_lesson(name: str) -> Lesson:
    """A notebook by stem, number or name: `01_kv_cache`, `01`, `kv_cache`, `01_kv_cache.ipynb`.

    Raises:
        SourceError: none or several fit.
    """
    wanted = Path(name).name.removesuffix(".ipynb").removesuffix(".md")
    found = [x for x in lessons() if wanted in (x.stem, x.stem[:2], x.stem[3:])]
    if len(found) != 1:
        stems = ", ".join(x.stem for x in lessons())
        raise SourceError(f"No notebook {name!r}. There are: {stems}.")
    return found[0]


def starter(lesson: Lesson) -> NotebookNode:
    """The notebook that learners open: stubs for solutions, no outputs."""
    return _notebook(lesson, _stub)


def solution(lesson: Lesson) -> NotebookNode:
    """The solved notebook, not yet executed."""
    return _notebook(lesson, lambda lines, indent: lines)


def fingerprint(notebook: NotebookNode) -> str:
    """A hash of what an author or a learner can edit: the cells' kinds and texts.

    Outputs and execution counts do not count: running a notebook is not editing it. Blank space at a
    cell's end does not count either.
    """
    digest = hashlib.sha256()
    for cell in notebook.cells:
        digest.update(f"{cell.cell_type}\0{cell.source.rstrip()}\0".encode())
    return digest.hexdigest()


def is_edited(notebook: NotebookNode) -> bool:
    """Has a generated notebook been edited since? One without a fingerprint counts as edited."""
    return notebook.metadata.get("course", {}).get("fingerprint") != fingerprint(notebook)


def _notebook(lesson: Lesson, solve) -> NotebookNode:
    if not lesson.source.exists():
        raise SourceError(f"{lesson.source} does not exist.")
    parsed = jupytext.read(lesson.source, fmt="md:myst")
    cells = []
    seen: dict[str, int] = {}
    for number, cell in enumerate(parsed.cells):
        new = NotebookNode(cell_type=cell.cell_type, metadata=NotebookNode(), source=cell.source)
        new.id = _cell_id(cell, seen)
        if tags := cell.metadata.get("tags"):
            new.metadata.tags = tags
        if cell.cell_type == "code":
            where = f"{lesson.source.name}, code cell {number}"
            new.source = "\n".join(_without_markers(cell.source, solve, where))
            new.outputs, new.execution_count = [], None
        cells.append(new)
    notebook = NotebookNode(
        cells=cells,
        metadata=NotebookNode(
            kernelspec=NotebookNode(KERNELSPEC), language_info=NotebookNode(name="python")
        ),
        nbformat=4,
        nbformat_minor=5,
    )
    notebook.metadata.course = NotebookNode(fingerprint=fingerprint(notebook))
    return notebook


def _cell_id(cell: NotebookNode, seen: dict[str, int]) -> str:
    """The same id at every build (jupytext's are random), and for starter and solution."""
    digest = hashlib.sha256(f"{cell.cell_type}\0{cell.source}".encode()).hexdigest()[:12]
    seen[digest] = seen.get(digest, 0) + 1
    return digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"


def _without_markers(source: str, solve, where: str) -> Iterator[str]:
    """The cell's lines with every marked region replaced by what `solve(lines, indent)` gives."""
    region: list[str] | None = None
    indent = ""
    for line in source.splitlines():
        if line.strip() == BEGIN:
            if region is not None:
                raise SourceError(f"{where}: two '{BEGIN}' without an '{END}' between them.")
            region, indent = [], re.match(r"\s*", line).group()
        elif line.strip() == END:
            if region is None:
                raise SourceError(f"{where}: an '{END}' without a '{BEGIN}'.")
            yield from solve(region, indent)
            region = None
        elif region is not None:
            region.append(line)
        else:
            yield line
    if region is not None:
        raise SourceError(f"{where}: a '{BEGIN}' without an '{END}'.")


def _stub(lines: list[str], indent: str) -> list[str]:
    written = [x for x in lines if x.strip() and not x.strip().startswith("#")]
    size = f"about {len(written)} lines" if len(written) > 1 else "one line"
    return [f'{indent}raise NotImplementedError("yours to write: {size}")']
