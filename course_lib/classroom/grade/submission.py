"""What a learner handed in: notebooks, and files of native kernels. Everything is read once and never written to."""

import ast
from dataclasses import dataclass
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

from ..exercise import Exercise
from ..native.ladder import Rung

MOST_BYTES = 50 * 2**20  # of one notebook: stored pictures take most of it


class NoSubmission(ValueError):
    """There is nothing to grade at this path; the message says what is wanted."""


@dataclass(frozen=True)
class Submission:
    """Where the parts of a submission are.

    Attributes:
        notebooks: the folder with notebooks, or a single one.
        kernels: the folder with a folder for each ladder, or None.
    """

    notebooks: Path
    kernels: Path | None

    def notebook(self, stem: str) -> Path | None:
        """The file of a notebook, or None."""
        if self.notebooks.is_file():
            return self.notebooks if self.notebooks.stem == stem else None
        path = self.notebooks / f"{stem}.ipynb"
        return path if path.is_file() else None

    def kernel(self, rung: Rung) -> str | None:
        """The text of a rung, or None."""
        path = self.kernels / rung.path if self.kernels else None
        if path is None or not path.is_file() or path.stat().st_size > 2**20:
            return None
        return path.read_text(encoding="utf-8", errors="replace")


def find_submission(path: Path) -> Submission:
    """A learner's checkout, a folder of notebooks, or one notebook.

    Raises:
        NoSubmission: it is none of these.
    """
    if path.suffix == ".ipynb" and path.is_file():
        kernels = path.parent.parent / "extensions" / "student"
        return Submission(path, kernels if kernels.is_dir() else None)
    for notebooks in (path / "notebooks", path):
        if notebooks.is_dir() and any(notebooks.glob("[0-9][0-9]_*.ipynb")):
            roots = (notebooks.parent / "extensions" / "student", path / "student")
            return Submission(notebooks, next((root for root in roots if root.is_dir()), None))
    raise NoSubmission(f"{path} is no checkout of the course, no folder with its notebooks, and no notebook of it")


class Unreadable(ValueError):
    """A file is no notebook."""


def read_cells(path: Path) -> list[str]:
    """The sources of a notebook's code cells, with magics turned into the calls that they are.

    Raises:
        Unreadable: it is no notebook, or too large.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise Unreadable(f"{path.name} has more than {MOST_BYTES >> 20} MiB")
        notebook = nbformat.read(path, as_version=4)
        cells = [str(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    except Unreadable:
        raise
    except Exception as error:  # whatever a damaged file makes of the reader
        raise Unreadable(f"{path.name} cannot be read as a notebook: {type(error).__name__}") from None
    return [_python(source) for source in cells]


def find_answer(cells: list[str], exercise: Exercise) -> tuple[str, str] | None:
    """The name and the source of the cell that answers an exercise: what the call of its check is given.

    Of several cells that define the name, the last one before the check; where nobody calls the check, the
    last of all that defines the name that the course gives it.

    Returns:
        None where no cell defines it.
    """
    defined: dict[str, str] = {}
    for source in cells:
        tree = _parsed(source)
        # A cell that does not even parse may be the answer: its name says so.
        names = _definitions(tree) if tree else [name for name in (exercise.name,) if _mentions(source, name)]
        defined |= dict.fromkeys(names, source)
        given = _checked_name(tree, exercise.id) if tree else None
        if given in defined:
            return given, defined[given]
    return (exercise.name, defined[exercise.name]) if exercise.name in defined else None


def _python(source: str) -> str:
    first, _, rest = source.partition("\n")
    if first.split()[:1] in (["%%time"], ["%%capture"], ["%%prun"]):  # they run the rest of the cell as it stands
        source = rest
    try:
        return TransformerManager().transform_cell(source)
    except Exception:
        return source


def _parsed(source: str) -> ast.Module | None:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _definitions(tree: ast.Module) -> list[str]:
    names = [n.name for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef))]
    for node in tree.body:
        # name = lambda ..., but not name = check("...", name)
        if isinstance(node, ast.Assign) and not _is_check(node.value):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
    return names


def _is_check(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("check", "check_kernel")


def _checked_name(tree: ast.Module, exercise_id: str) -> str | None:
    """What `check("this id", name)` is given."""
    for node in ast.walk(tree):
        if _is_check(node) and len(node.args) == 2:
            first, second = node.args
            if isinstance(first, ast.Constant) and first.value == exercise_id and isinstance(second, ast.Name):
                return second.id
    return None


def _mentions(source: str, name: str) -> bool:
    return any(line.lstrip().startswith((f"def {name}", f"class {name}")) for line in source.splitlines())
