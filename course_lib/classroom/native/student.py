"""The learners' files: generated from the reference sources, with the solutions taken out.

In `extensions/reference` the lines between `// BEGIN SOLUTION` and `// END SOLUTION` are the solution. In a
learner's file a stub stands there, between `// BEGIN YOUR CODE` and `// END YOUR CODE`: in C++ a call that ends the
program, in Metal, which has no such call, a comment. The file's last line is a digest of the others, by which an
edited file is known.
"""

import hashlib
import os
import re
import shutil
from datetime import datetime
from pathlib import Path

from ...paths import EXTENSIONS, store_dir, student_dir
from .ladder import Ladder, MetalLadder, Rung, ladders

SOLUTION = re.compile(r"^( *)// BEGIN SOLUTION\n(.*?)^ *// END SOLUTION\n", re.MULTILINE | re.DOTALL)
ANSWER = re.compile(r"^ *// BEGIN YOUR CODE\n(.*?)^ *// END YOUR CODE$", re.MULTILINE | re.DOTALL)
STUB = re.compile(r'(?:not_written\("|// Yours to write: )(\w+)(?:: .*"\);|, about .*)')
DIGEST = "// As it was given: "


class Edited(Exception):
    """A learner's file was edited, so it is not overwritten."""


# What the course comes with. Learners write there, unless their store is elsewhere (`student_dir`).
GENERATED = EXTENSIONS / "student"


def student_file(rung: Rung, folder: Path | None = None) -> Path:
    """Where the learner writes this rung: below `folder`, by default `student_dir()`."""
    return (folder or student_dir()) / rung.path


def reference_text(rung: Rung) -> str:
    return (EXTENSIONS / "reference" / rung.source).read_text(encoding="utf-8")


def solved_text(rung: Rung) -> str:
    """The learner's file with everything written, as the reference has it."""
    return SOLUTION.sub(lambda m: m[2], _checked(rung))


def starter_text(rung: Rung) -> str:
    """The learner's file as it is given."""
    parts = iter(rung.parts)
    metal = rung.suffix == ".metal"

    def stub(match: re.Match) -> str:
        indent, lines = match[1], match[2].splitlines()
        written = [x for x in lines if x.strip() and not x.strip().startswith("//")]
        part, size = next(parts), f"about {len(written)} lines"
        left = f"// Yours to write: {part}, {size}." if metal else f'not_written("{part}: {size}");'
        return f"{indent}// BEGIN YOUR CODE\n{indent}{left}\n{indent}// END YOUR CODE\n"

    text = SOLUTION.sub(stub, _checked(rung))
    if not metal:
        last_include = list(re.finditer(r'^#include ".*"\n', text, re.MULTILINE))[-1]
        text = text[: last_include.end()] + '#include "not_written.h"\n' + text[last_include.end() :]
    head = (
        f"// Yours to write: what stands between BEGIN YOUR CODE and END YOUR CODE. Save, then run the cell\n"
        f'// check_kernel("{rung.ladder}", rung="{rung.name}") in the notebook. You may change the rest, too.\n//\n'
    )
    text = head + text
    return f"{text}\n{DIGEST}{_digest(text)}\n"


def unwritten(text: str) -> list[str]:
    """Names of the parts that are still the stub that was given."""
    found = []
    for region in ANSWER.finditer(text):
        if stub := STUB.fullmatch(region[1].strip()):
            found.append(stub[1])
    return found


def is_edited(text: str) -> bool:
    """Does a learner's file differ from what was once generated?"""
    body, found, digest = text.rpartition(f"\n{DIGEST}")
    return not found or digest.strip() != _digest(body)


def write_starter(rung: Rung, folder: Path) -> bool:
    """Write the learner's file below `folder` unless it is there already; returns whether it was written.

    Raises:
        Edited: the file holds edits. Nothing was written.
    """
    path, new = student_file(rung, folder), starter_text(rung)
    if path.exists():
        old = path.read_text(encoding="utf-8")
        if old == new:
            return False
        if is_edited(old):
            raise Edited(
                f"{rung.file} was edited, so it is left alone. To start over (a backup is kept): course reset {rung.id}"
            )
    _write(path, new)
    return True


def write_starters(folder: Path = GENERATED) -> list[str]:
    """Write all learners' files that are not there or have changed. Edited ones are left alone.

    Returns:
        One line a file: what was done, or why not.
    """
    said = []
    for rung in (rung for ladder in ladders() for rung in ladder.rungs):
        try:
            said.append(f"{rung.file}: {'written' if write_starter(rung, folder) else 'unchanged'}")
        except Edited as error:
            said.append(str(error))
    return said


def write_solved(folder: Path) -> None:
    """Write the solved files of all ladders below `folder`, which stands for `extensions/student`."""
    for rung in (rung for ladder in ladders() for rung in ladder.rungs):
        _write(student_file(rung, folder), solved_text(rung))


def drift(folder: Path = GENERATED) -> list[str]:
    """One sentence for each learner's file that is not what its reference gives now; and for files that belong
    to no rung."""
    found, known = [], set()
    for rung in (rung for ladder in ladders() for rung in ladder.rungs):
        path = student_file(rung, folder)
        known.add(path)
        if not path.exists():
            found.append(f"{rung.file} is missing.")
        elif path.read_text(encoding="utf-8") != starter_text(rung):
            found.append(f"{rung.file} differs from extensions/reference/{rung.source}.")
    strange = sorted({*folder.glob("*/*.cpp"), *folder.glob("*/*.metal")} - known)
    return found + [f"extensions/student/{p.parent.name}/{p.name} belongs to no rung." for p in strange]


def reset(ladder: Ladder | MetalLadder, rung: Rung | None = None) -> list[Path]:
    """Put the learner's files back as they were given: of one rung, or of all.

    Returns:
        Where the edited versions are kept.
    """
    kept = []
    for each in [rung] if rung else ladder.rungs:
        path = student_file(each)
        if path.exists() and is_edited(path.read_text(encoding="utf-8")):
            kept.append(_backup(path, each))
        _write(path, starter_text(each))
    return kept


def _backup(path: Path, rung: Rung) -> Path:
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    backup = store_dir() / "backups" / f"{rung.id}_{stamp}{rung.suffix}"
    backup.parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while backup.exists():
        number += 1
        backup = backup.with_name(f"{rung.id}_{stamp}_{number}{rung.suffix}")
    shutil.copy2(path, backup)
    return backup


def _checked(rung: Rung) -> str:
    text = reference_text(rung)
    begins, regions = text.count("// BEGIN SOLUTION"), len(SOLUTION.findall(text))
    assert begins == regions == text.count("// END SOLUTION"), f"{rung.source}: a marker has no partner"
    assert regions == len(rung.parts), f"{rung.source} has {regions} solutions, the ladder names {len(rung.parts)}"
    return text


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
