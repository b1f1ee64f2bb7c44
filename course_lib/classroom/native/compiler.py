"""Compile one rung, quickly: only the learner's file, everything else comes from a cache.

What is compiled is the text that was read, not the file that it came from, and what comes out is filed under
all that it depends on. So an unchanged file compiles no second time, a changed one is never answered by an
older build, and a library that is loaded already is never written over.
"""

import hashlib
import os
import platform
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ...kernels.toolchain import host_cpu, identity, require_compiler
from ...lab.machine import cores
from ...paths import EXTENSIONS, cache_dir
from .ladder import Ladder, Rung
from .student import student_file

# How each kind of build is compiled. -O0 and -O1: quicker to compile, and lines in reports are the true ones.
MODES = {
    "release": ("-O3", "-fPIC", "-fvisibility=hidden", "-fvisibility-inlines-hidden"),
    "memory": ("-O0", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"),
    "races": ("-O1", "-g", "-fsanitize=thread", "-fno-optimize-sibling-calls"),
    # For machines whose compiler has no sanitizers.
    "plain": ("-O1", "-g"),
}
COMPILE_LIMIT = 120  # seconds: a template can recurse without end
KEPT_FILES = 300
UNUSED = 3600  # seconds after which a file may go: another process may be about to link a younger one


class DoesNotCompile(Exception):
    """The learner's file does not compile or link. `words` are the compiler's."""

    def __init__(self, words: str):
        super().__init__(words)
        self.words = words


@dataclass(frozen=True)
class Unit:
    """A source to compile: its text, and the path that errors and reports name."""

    path: Path
    text: str


def check_program(ladder: Ladder, rung: Rung, text: str, mode: str) -> Path:
    """The program that checks a rung, with the learner's `text` in place of the rung's reference.

    Raises:
        DoesNotCompile: the learner's text does not.
        BuildError: there is no compiler.
    """
    main = EXTENSIONS / "driver" / "ladder" / ladder.program
    objects = _objects(ladder, rung, text, main, mode)
    return _linked(objects, mode, "", _link_flags(mode))


def library(ladder: Ladder, rung: Rung, text: str) -> Path:
    """A shared library with the learner's rung, at full speed, under a name that no other text ever had.

    Raises:
        DoesNotCompile, BuildError: as above.
    """
    objects = _objects(ladder, rung, text, EXTENSIONS / "driver" / "ladder" / ladder.export, "release")
    return _linked(objects, "release", ".so", ("-shared",))


def build_all(ladder: Ladder, rung: Rung, text: str, modes: tuple[str, ...]) -> None:
    """Compile the learner's text for several modes at the same time, and whatever else they need."""
    with ThreadPoolExecutor(cores()) as pool:
        jobs = [
            pool.submit(library, ladder, rung, text) if mode == "release"
            else pool.submit(check_program, ladder, rung, text, mode)
            for mode in modes
        ]  # fmt: skip
    for job in jobs:
        job.result()


def _objects(ladder: Ladder, rung: Rung, text: str, main: Path, mode: str) -> list[Path]:
    units = [_on_disk(EXTENSIONS / "reference" / name) for name in ladder.sources if name != rung.source]
    # The learner's own last: a mistake there is not to hide behind the wait for the others.
    units = [Unit(student_file(rung), text), _on_disk(main), *units]
    return [_compiled(unit, mode) for unit in units]


def _on_disk(path: Path) -> Unit:
    return Unit(path, path.read_text(encoding="utf-8"))


def _compiled(unit: Unit, mode: str) -> Path:
    compiler = require_compiler()
    flags = (*_common_flags(compiler), *MODES[mode])
    key = _digest(identity(compiler), host_cpu(), " ".join(flags), _headers(), str(unit.path), unit.text)
    target = _folder() / f"{unit.path.stem}-{key}.o"
    if not _fresh(target):
        # From standard input, under the file's name.
        source = f'#line 1 "{unit.path}"\n{unit.text}'
        _run([compiler, *flags, "-x", "c++", "-c", "-", "-o"], target, source)
    return target


def _linked(objects: list[Path], mode: str, suffix: str, flags: tuple[str, ...]) -> Path:
    target = _folder() / f"{objects[0].stem}-{_digest(mode, *(o.name for o in objects))}{suffix}"
    if not _fresh(target):
        _run([require_compiler(), *flags, *objects, "-pthread", "-o"], target, "")
        _forget_old()
    return target


def _fresh(target: Path) -> bool:
    if not target.exists():
        return False
    with suppress(OSError):
        os.utime(target)  # what is used is not forgotten
    return True


def _run(command: list, target: Path, source: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    made = target.with_name(f".{os.getpid()}-{_digest(os.urandom(8).hex())}-{target.name}")
    try:
        ran = subprocess.run(
            [str(part) for part in (*command, made)], input=source, capture_output=True, text=True,
            errors="replace", timeout=COMPILE_LIMIT, check=False, cwd=target.parent, env=_environment(),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise DoesNotCompile(f"the compiler was stopped after {COMPILE_LIMIT} seconds") from None
    if ran.returncode:
        made.unlink(missing_ok=True)
        raise DoesNotCompile(ran.stderr or ran.stdout)
    os.replace(made, target)  # at once: another notebook sees all of it or nothing


def _environment() -> dict[str, str]:
    return os.environ | {"LC_ALL": "C"}  # the compiler's words in English, which are read by a program


@cache
def _common_flags(compiler: Path) -> tuple[str, ...]:
    flags = [
        "-std=c++20", "-Wall", "-Wextra", "-Wno-unused", "-fdiagnostics-color=never", "-pthread",
        "-I", str(EXTENSIONS / "reference"), "-I", str(EXTENSIONS / "driver" / "ladder"),
    ]  # fmt: skip
    # As CMakeLists.txt does, for the same speed and the same rounding.
    arm = platform.machine() in ("arm64", "aarch64")
    for option in ("-mcpu=native" if arm else "-march=native", "--param=avoid-fma-max-bits=0"):
        if _accepts(compiler, option):
            flags.append(option)
    return tuple(flags)


def _accepts(compiler: Path, option: str) -> bool:
    ran = subprocess.run(
        [str(compiler), option, "-Werror", "-x", "c++", "-fsyntax-only", "-"], input="", capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    return ran.returncode == 0


def _link_flags(mode: str) -> tuple[str, ...]:
    return tuple(flag for flag in MODES[mode] if flag.startswith("-fsanitize="))


@cache
def _header_files() -> tuple[Path, ...]:
    return tuple(
        sorted(p for folder in ("reference", "runtime", "driver", "driver/ladder") for p in (EXTENSIONS / folder).glob("*.h"))
    )


def _headers() -> str:
    return _digest(*(f"{path.name}\n{path.read_text(encoding='utf-8')}" for path in _header_files()))


def _folder() -> Path:
    return cache_dir() / "native" / "ladders"


def _forget_old() -> None:
    ages = {}
    for path in _folder().glob("*"):
        with suppress(FileNotFoundError):  # another process tidies up, too
            ages[path] = time.time() - path.stat().st_mtime
    for path in sorted(ages, key=ages.get)[KEPT_FILES:]:
        if ages[path] > UNUSED:
            path.unlink(missing_ok=True)


def _digest(*parts: str) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part.encode() + b"\0")
    return whole.hexdigest()[:16]
