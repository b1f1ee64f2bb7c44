"""Find the source of the cell that defined an answer.

`inspect.getsource` of a class fails in notebook cells on Python 3.11: it looks for the module's file. The
code objects of the class's methods know the cell, and IPython keeps each cell's text in `linecache`.
"""

import functools
import inspect
import linecache
import textwrap
from types import CodeType


def definition_file(answer) -> str | None:
    """The file name (for a notebook, the cell's made-up name) in which `answer` was defined."""
    code = _code(answer)
    return code.co_filename if code else None


def definition_source(answer) -> str | None:
    """The text that defines `answer`: its whole notebook cell, or the definition alone if it lies in a file.

    The whole cell, since helpers may stand above or below the answer.
    """
    code = _code(answer)
    if code is None:
        return None
    lines = linecache.getlines(code.co_filename)
    if not lines:
        return None
    if _is_cell(code.co_filename):
        return "".join(lines)
    try:
        return textwrap.dedent(inspect.getsource(inspect.unwrap(answer)))
    except (OSError, TypeError):
        return None


def _is_cell(filename: str) -> bool:
    # IPython registers cells without a modification time; linecache sets one for files on disk.
    entry = linecache.cache.get(filename)
    return entry is not None and len(entry) == 4 and entry[1] is None


def _code(answer) -> CodeType | None:
    """A code object written by the learner: the function's own, or that of a class's first method."""
    if isinstance(answer, functools.partial):
        return _code(answer.func)
    answer = inspect.unwrap(answer) if callable(answer) else answer
    if isinstance(answer, type):
        codes = [c for c in map(_member_code, vars(answer).values()) if c is not None]
        # Generated methods (a dataclass's __init__) come from the file "<string>".
        written = [c for c in codes if not c.co_filename == "<string>"]
        return written[0] if written else None
    return _member_code(answer) or (_code(type(answer)) if not inspect.isbuiltin(answer) else None)


def _member_code(member) -> CodeType | None:
    if isinstance(member, (staticmethod, classmethod)):
        member = member.__func__
    if isinstance(member, property):
        member = member.fget
    member = inspect.unwrap(member) if callable(member) else member
    code = getattr(member, "__code__", None)
    return code if isinstance(code, CodeType) else None
