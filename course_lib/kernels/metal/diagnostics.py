"""Errors of the compiler, said of the .metal file: its line, a caret, and what to do."""

import re
from pathlib import Path

from course_lib.kernels.metal.errors import MetalSyntaxError

# What C++ compilers say when the emulator has no such name.
_UNKNOWN = re.compile(
    r"[‘'`](?P<name>[\w:]+)[’'`] (?:was not declared in this scope|is not a member of|has not been declared|does not name a type)"
    r"|use of undeclared identifier '(?P<name2>\w+)'|no member named '(?P<name3>\w+)' in namespace|"
    r"unknown type name '(?P<name4>\w+)'"
)


def explain(error: MetalSyntaxError, texts: dict[str, str]) -> MetalSyntaxError:
    """The same error with its place, the source's line and a caret in the message.

    Args:
        error: with the attribute `place`: (file, line, column), if it is known.
        texts: file -> its text.
    """
    message = re.sub(r"emulator::|metal::", "", str(error))
    if unknown := _UNKNOWN.search(str(error)):
        name = next(filter(None, unknown.groupdict().values()))
        message += f"\n`{name}` is misspelt, declared elsewhere, or a part of Metal that is not supported here."
    place = getattr(error, "place", None)
    if place is None:
        return type(error)(message)
    file, line, column = place
    shown = "\n".join(filter(None, [f"{location(file, line)}:{column}: {message}", excerpt(texts, file, line, column)]))
    explained = type(error)(shown)
    explained.place = place
    return explained


def location(file: str, line: int) -> str:
    """`quantized_matmul.metal:12`: the name of a file is enough to find it by."""
    return f"{Path(file).name}:{line}"


def excerpt(texts: dict[str, str], file: str, line: int, column: int | None = None) -> str:
    """The source's line, with a caret below the column; nothing if the text is not known."""
    lines = texts.get(file, "").splitlines()
    if not 1 <= line <= len(lines):
        return ""
    shown = f"{line:5} | {lines[line - 1]}"
    if column is not None:
        # Tabs stay tabs, or the caret would stand elsewhere.
        before = re.sub(r"[^\t]", " ", lines[line - 1][: column - 1])
        shown += f"\n      | {before}^"
    return shown
