"""A ladder of native kernels: the same job in rungs, each one idea faster, each in a file of its own.

A ladder is to C++ and Metal what the exercises of a module are to Python: titles, cases, mistakes with their hints.
It lives in the package of its notebook's exercises, as a module-level `Ladder` (C++) or `MetalLadder`.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..exercise import UnknownExercise, notebooks


@dataclass(frozen=True)
class Rung:
    """One rung. For panels and the progress table it looks like an `Exercise`.

    Attributes:
        ladder: the ladder's name. Metal's end in ".metal".
        name: the rung's, as in `check_kernel("quantized_matmul", rung="threads")`.
        title: one line for the progress table.
        source: its file in `extensions/reference`, .cpp or .metal.
        parts: names of what the learner writes, one a marked region, in order.
        cases: key that the check program prints, or by which a MetalLadder is asked for problems -> what must hold.
        mistakes: name of a known mistake -> its hint.
        findings: (kind of the sanitizer's finding, array or "") -> the known mistake that it shows. The kinds are
            those of report.py ("read", "write", "race", ...), for Metal of kernels/metal/finding.py.
        threads: does the kernel use threads, so that races are looked for?
        output: the result's name in what the panel says: "y[0, 3]".
        stretch: True for an optional rung.
    """

    ladder: str
    name: str
    title: str
    source: str
    parts: tuple[str, ...]
    cases: Mapping[str, str]
    mistakes: Mapping[str, str]
    findings: Mapping[tuple[str, str], str] = field(default_factory=dict)
    threads: bool = False
    output: str = "y"
    stretch: bool = False

    @property
    def id(self) -> str:
        return f"{self.ladder}.{self.name}"

    @property
    def suffix(self) -> str:
        """Of its file: ".cpp" or ".metal"."""
        return Path(self.source).suffix

    @property
    def path(self) -> str:
        """The learner's file below the folder of all learners' files: C++ and Metal of one kernel share a folder."""
        return f"{self.ladder.removesuffix('.metal')}/{self.name}{self.suffix}"

    @property
    def file(self) -> str:
        """The learner's file, as the panel names it: from the checkout's root."""
        return f"extensions/student/{self.path}"

    @property
    def place(self) -> str:
        """Where the answer is written, for the panel: "Write yours ..."."""
        return f"in `{self.file}`, save it"


@dataclass(frozen=True)
class Ladder:
    """Rungs of one kernel, and what is needed to build, run and time them.

    Attributes:
        name: `quantized_matmul`.
        sources: files of `extensions/reference` that a program with all rungs consists of.
        program: the file in `extensions/driver/ladder` that checks a rung.
        rungs: those that learners write, in order.
        given: names of rungs that are given, the slowest first.
        load: `load(library, rung)`: the kernel as a callable on MLX arrays, from the library at this
            path, or for None the one that came with the course.
        export: the file in `extensions/driver/ladder` through which a library shows its rungs to `load`.
        benchmark: `benchmark(kernels)`, name -> kernel: a figure and its alt text.
    """

    name: str
    sources: tuple[str, ...]
    program: str
    rungs: tuple[Rung, ...]
    given: tuple[str, ...]
    load: Callable[[Path | None, str], Callable]
    benchmark: Callable
    export: str = "export.cpp"

    def rung(self, name: str) -> Rung:
        """Raises UnknownExercise, with the names that exist."""
        return _rung(self, name)


@dataclass(frozen=True)
class MetalProblem:
    """One call of a Metal kernel, and what must come out.

    Attributes:
        words: what it is about, for the panel: "x [3, 96] float16, w [37, 96]".
        arguments: of the call; keywords likewise.
        wanted: the right values, in the shape of the kernel's result, float64.
        tolerance: how far off each value may be: a number, or an array of that shape.
        mistakes: name of a known mistake -> the values that it gives, or a function that tells from the given
            values, float64, whether it was made. Names that the rung does not know are passed over.
    """

    words: str
    arguments: tuple
    wanted: np.ndarray
    tolerance: np.ndarray | float
    mistakes: Mapping[str, Any] = field(default_factory=dict)
    keywords: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MetalLadder:
    """Rungs of one kernel in Metal, and what is needed to run and measure them.

    Attributes:
        name: `quantized_matmul.metal`.
        rungs: those that learners write, in order.
        given: names of rungs that are given, the slowest first.
        load: `load(path, rung)`: the kernel as a callable on MLX arrays, from the .metal file at this path, or for
            None the reference's. It takes the options of a MetalKernel's call (`strict=True`), and has a method
            `inspect` with the same arguments that returns a list of Inspections, one a launch.
        problems: `problems(rung, case)`: what a case asks of a rung, as a sequence of MetalProblem. They are small:
            the emulator runs them. Few different templates: each is compiled, in a fifth of a second.
        benchmark: `benchmark(kernels)`, name -> kernel: a figure and its alt text.
    """

    name: str
    rungs: tuple[Rung, ...]
    given: tuple[str, ...]
    load: Callable[[Path | None, str], Callable]
    problems: Callable[[str, str], Sequence[MetalProblem]]
    benchmark: Callable

    def rung(self, name: str) -> Rung:
        """Raises UnknownExercise, with the names that exist."""
        return _rung(self, name)


def _rung(ladder: Ladder | MetalLadder, name: str) -> Rung:
    for rung in ladder.rungs:
        if rung.name == name:
            return rung
    names = ", ".join(r.name for r in ladder.rungs)
    given = f" Given, and not to be written: {', '.join(ladder.given)}." if ladder.given else ""
    raise UnknownExercise(f"The ladder {ladder.name} has no rung {name!r}. Its rungs: {names}.{given}")


def ladders_of(notebook: str) -> list[Ladder | MetalLadder]:
    """The ladders of one notebook."""
    module = importlib.import_module(f"course_lib.classroom.exercises.{notebook}")
    return [v for v in vars(module).values() if isinstance(v, Ladder | MetalLadder)]


def rungs_of(notebook: str) -> list[Rung]:
    """All rungs that learners write in one notebook, in order."""
    return [rung for ladder in ladders_of(notebook) for rung in ladder.rungs]


def ladders() -> list[Ladder | MetalLadder]:
    """All ladders of the course."""
    return [ladder for notebook in notebooks() for ladder in ladders_of(notebook)]


def get_ladder(name: str) -> Ladder | MetalLadder:
    """The ladder with this name.

    Raises:
        UnknownExercise: with the names that exist.
    """
    for notebook in notebooks():
        for ladder in ladders_of(notebook):
            if ladder.name == name:
                return ladder
    names = ", ".join(ladder.name for ladder in ladders())
    raise UnknownExercise(f"There is no ladder {name!r}. There are: {names}.")
