"""Read a sanitizer's report: what happened, to which array, and on which of the learner's lines."""

import re
from dataclasses import dataclass
from pathlib import Path

FRAME = re.compile(r"^\s+#\d+ (?:0x[0-9a-f]+ in )?(?P<function>.*?) (?P<path>/[^\s:]+):(?P<line>\d+)", re.MULTILINE)
UNDEFINED = re.compile(r"^(?P<path>/[^\s:]+):(?P<line>\d+):\d+: runtime error: (?P<words>.*)$", re.MULTILINE)
PLACE = re.compile(r"is located (\d+) bytes (to the right of|after|to the left of|before|inside of|inside) (?:a )?(\d+)-byte region")
ARRAY = re.compile(r"\barrays::(\w+)")


@dataclass(frozen=True)
class Finding:
    """What a sanitizer found.

    Attributes:
        kind: "read" or "write" outside of an array, "race", "undefined", "crash" or "hang".
        array: the array that was missed or shared, or "".
        line: the learner's line, or None if none was on the stack.
        words: what happened, in one sentence.
        other_line: for a race, the learner's line of the other thread.
    """

    kind: str
    array: str
    line: int | None
    words: str
    other_line: int | None = None


def read_report(errors: str, source: Path) -> Finding | None:
    """The first finding in a program's stderr; None if there is none.

    Args:
        errors: the report.
        source: the learner's file.
    """
    if found := UNDEFINED.search(errors):
        own = int(found["line"]) if found["path"] == str(source) else _own_line(errors[found.end() :], source)
        return Finding("undefined", "", own, f"Undefined behaviour: {found['words']}.")
    if "ThreadSanitizer: data race" in errors:
        return _race(errors, source)
    if found := re.search(r"Sanitizer: (.+)", errors):
        return _memory(errors[found.start() :], found[1], source)
    return None


def _memory(report: str, title: str, source: Path) -> Finding:
    stack, _, rest = report.partition("is located")
    line = _own_line(stack, source)
    access = re.search(r"^(READ|WRITE) of size (\d+)", report, re.MULTILINE)
    kind = title.split()[0]
    if kind == "ABRT":
        return Finding("hang", "", line, "")
    if kind in ("ILL", "TRAP"):
        return Finding("crash", "", line, "The program stopped itself, as `__builtin_trap` and calls with impossible values do.")
    if kind == "stack-overflow":
        return Finding("crash", "", line, "The stack is full: a function calls itself without end, or a local array is too large.")
    if access is None or kind == "SEGV" or not rest:
        if kind == "allocation-size-too-big" or kind == "requested":
            return Finding("crash", "", line, "More memory was asked for than there is.")
        verb = {"READ": "Read from", "WRITE": "Wrote to"}.get(access[1] if access else "", "Used")
        return Finding("crash", "", line, f"{verb} an address where there is no memory: a pointer or an index is far off.")
    array = ARRAY.search(rest)
    name = array[1] if array else ""
    verb = "Read" if access[1] == "READ" else "Wrote"
    place = PLACE.search(report)
    words = f"{verb} {access[2]} bytes {_where(place)}{f'`{name}`' if name else 'an array'}"
    if place:
        words += f", which has {int(place[3]):,} bytes"
    return Finding("read" if access[1] == "READ" else "write", name, line, f"{words}.")


def _where(place: re.Match | None) -> str:
    if place is None:
        return "outside of "
    distance, side = int(place[1]), place[2]
    if side in ("to the left of", "before"):
        return f"that begin {distance} bytes before the begin of "
    if side.startswith("inside"):
        return "that reach over the end of "
    return "right behind the end of " if distance == 0 else f"that begin {distance} bytes behind the end of "


def _race(errors: str, source: Path) -> Finding:
    report = errors[errors.index("ThreadSanitizer: data race") :]
    accesses = re.split(r"^  (?=\S)", report, flags=re.MULTILINE)
    stacks = [a for a in accesses if re.match(r"(Previous )?(atomic )?(read|write)", a, re.IGNORECASE)]
    location = next((a for a in accesses if a.startswith("Location")), "")
    array = ARRAY.search(location)
    name = array[1] if array else ""
    lines = [_own_line(stack, source) for stack in stacks] + [None, None]
    words = f"Two threads use the same place in {f'`{name}`' if name else 'memory'} at the same time, and at least one of them writes."
    return Finding("race", name, lines[0], words, lines[1])


def _own_line(stack: str, source: Path) -> int | None:
    for frame in FRAME.finditer(stack):
        if Path(frame["path"]) == source:
            return int(frame["line"])
    return None
