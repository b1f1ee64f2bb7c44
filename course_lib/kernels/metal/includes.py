"""Quoted includes, inlined: mx.fast.metal_kernel compiles one text, with no folder to look in."""

import re
from collections.abc import Iterable
from pathlib import Path

from course_lib.kernels.metal.errors import MetalSyntaxError

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', re.MULTILINE)
_ONCE = re.compile(r"^[ \t]*#[ \t]*pragma[ \t]+once\b[^\n]*", re.MULTILINE)


def inline(path: Path, folders: Iterable[Path] = (), skip: Iterable[str] = ()) -> tuple[str, dict[str, str]]:
    """A file with what it includes in quotes, each file once, and `#line` markers around it.

    Args:
        path: the file.
        folders: to look in after the including file's own.
        skip: includes that are left out.

    Returns:
        The text, and file -> text of all that were read.

    Raises:
        MetalSyntaxError: an included file is not there.
    """
    texts: dict[str, str] = {}
    folders, skip = list(folders), set(skip)

    def read(file: Path) -> str:
        text = texts[str(file)] = file.read_text()
        text = _ONCE.sub("", text)

        def replaced(match: re.Match) -> str:
            bracket, name = match.groups()
            if bracket == "<" or name in skip:
                return match.group()
            places = [folder / name for folder in [file.parent, *folders]]
            found = next((place.resolve() for place in places if place.is_file()), None)
            line = text.count("\n", 0, match.start()) + 1
            if found is None:
                error = MetalSyntaxError(f'the included file "{name}" is not there')
                error.place = (str(file), line, match.start(1) - text.rfind("\n", 0, match.start()))
                error.texts = texts
                raise error
            if str(found) in texts:
                return ""
            return f'#line 1 "{found}"\n{read(found)}\n#line {line} "{file}"\n'

        return _INCLUDE.sub(replaced, text)

    return read(path.resolve()), texts
