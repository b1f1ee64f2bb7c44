"""Errors of the compiler, said of the .metal file: its line, a caret, and what to do."""

import re
from pathlib import Path

from course_lib.kernels.metal.errors import MetalSyntaxError

# What C++ compilers say when the emulator has no such name.
_UNKNOWN = re.compile(
    r"[‘'`](?P<name>[\w:]+)[’'`] (?:was not declared in this scope|is not a member of|has not been declared|"
    r"does not name a type)"
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
    column = _column_in(texts.get(file, ""), line, column, getattr(error, "token", None))
    shown = "\n".join(filter(None, [f"{location(file, line)}:{column}: {message}", excerpt(texts, file, line, column)]))
    explained = type(error)(shown)
    explained.place = place
    return explained


def _column_in(text: str, line: int, column: int, token: tuple[str, int] | None) -> int:
    """The column in the file itself: the preprocessor moves what follows a macro, or several spaces."""
    lines = text.splitlines()
    if token is None or not 1 <= line <= len(lines):
        return column
    spelled, number = token
    if lines[line - 1].startswith(spelled, column - 1):
        return column
    edge = r"\b" if spelled[0].isalnum() else ""
    starts = [match.start() + 1 for match in re.finditer(f"{edge}{re.escape(spelled)}{edge}", lines[line - 1])]
    if number < len(starts):
        return starts[number]
    # It came out of a macro: the line is all that can be shown.
    return len(lines[line - 1]) - len(lines[line - 1].lstrip()) + 1


def complaint(said: str, translation) -> MetalSyntaxError:
    """A C++ compiler's first error, at its place in the Metal source.

    Args:
        said: its output, of g++ or clang.
        translation: that it was given.
    """
    context = None  # where the template was asked for in which the error is: gcc says it before, clang after
    lines = said.splitlines()
    for i, line in enumerate(lines):
        match = re.match(r"(.+?):(\d+):(?:(\d+):)?\s+(.*)", line)
        if not match:
            continue
        file, number, column, words = match[1], int(match[2]), int(match[3] or 1), match[4]
        column_there = translation.column(file, number, column)
        if "required from" in words or "in instantiation" in words:
            context = (file, number, column_there) if column_there else context
            continue
        if not re.match(r"(fatal )?error: ", words):
            continue
        place = (file, number, column_there) if column_there else context
        if place is None:
            place = _first_note(lines[i + 1 :], translation)
        error = MetalSyntaxError(words.split("error: ", 1)[1])
        if place:
            error.place = place
            error.token = translation.token(file, number, column) if place[:2] == (file, number) else None
        return error
    return MetalSyntaxError(said.strip()[-2000:])


def _first_note(lines: list[str], translation) -> tuple[str, int, int] | None:
    for line in lines:
        match = re.match(r"(.+?):(\d+):(?:(\d+):)?\s+(?:note|  required)", line)
        if match and (column := translation.column(match[1], int(match[2]), int(match[3] or 1))):
            return match[1], int(match[2]), column
    return None


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
