"""The compiler's words, short: the first mistake, the learner's line, and what the compiler says of it."""

import re
from pathlib import Path

MESSAGE = re.compile(r"^(?P<path>[^\s:][^:\n]*):(?P<line>\d+):(?:(?P<column>\d+):)? (?:fatal )?error: (?P<words>.*)$", re.MULTILINE)
UNDEFINED = re.compile(r"undefined reference to [`'](?P<name>.*?)'\s*$|^\s+\"(?P<mac>.*?)\", referenced from", re.MULTILINE)
DUPLICATE = re.compile(r"multiple definition of [`'](.*?)'|duplicate symbol '(.*?)'")


def complaint(words: str, path: Path, text: str) -> str:
    """What is wrong, in a few lines.

    Args:
        words: the compiler's output.
        path: the learner's file, as it was named to the compiler.
        text: what was compiled.
    """
    errors = list(MESSAGE.finditer(words))
    if not errors:
        return _from_linker(words, path)
    first = errors[0]
    own = int(first["line"]) if first["path"] == str(path) else _own_line(words[: first.end() + 4000], path)
    said = [f"error: {_plain(first['words'])}"]
    if own is None:
        said.append(f"  {Path(first['path']).name}, line {first['line']}")
    else:
        lines = text.splitlines()
        code = lines[own - 1] if own <= len(lines) else ""
        said.append(f"  {path.name}, line {own}:")
        said.append(f"  {code.rstrip()}")
        if first["path"] == str(path) and first["column"]:
            said.append("  " + re.sub(r"[^\t]", " ", code[: int(first["column"]) - 1]) + "^")
    said += [f"  {_plain(note)}" for note in _notes(words, first)]
    if len(errors) > 1:
        rest = len(errors) - 1
        said.append(f"{rest} more error{'s' * (rest > 1)}: mend this one first, the others often follow from it.")
    return "\n".join(said)


def _own_line(words: str, path: Path) -> int | None:
    """The learner's line on whose behalf a header was found wrong, as in "required from here"."""
    found = re.search(rf"^(?:In file included from )?{re.escape(str(path))}:(\d+):\d+:.*(?:required|instantiation)", words, re.MULTILINE)
    return int(found[1]) if found else None


def _notes(words: str, first: re.Match) -> list[str]:
    """The compiler's suggestion, if it has one: "did you mean ..."."""
    after = words[first.end() :]
    following = MESSAGE.search(after)
    after = after[: following.start()] if following else after
    return re.findall(r"note: (suggested alternative.*|.*did you mean.*)", after)[:1]


def _plain(words: str) -> str:
    return words.replace("‘", "`").replace("’", "`").replace("course::", "").replace("{anonymous}::", "")


def _from_linker(words: str, path: Path) -> str:
    if found := UNDEFINED.search(words):
        name = _plain(found["name"] or found["mac"])
        return f"{path.name} no longer defines what the others call: {name}"
    if found := DUPLICATE.search(words):
        return f"{path.name} defines what is defined elsewhere: {_plain(found[1] or found[2])}"
    return "\n".join(words.strip().splitlines()[:12])
