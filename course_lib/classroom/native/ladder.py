"""A ladder of native kernels: the same job in rungs, each one idea faster, each in a file of its own.

A ladder is to C++ what the exercises of a module are to Python: titles, cases, mistakes with their hints. It
lives in the package of its notebook's exercises, as a module-level `Ladder`.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..exercise import UnknownExercise, notebooks


@dataclass(frozen=True)
class Rung:
    """One rung. For panels and the progress table it looks like an `Exercise`.

    Attributes:
        ladder: the ladder's name.
        name: the rung's, as in `check_kernel("quantized_matmul", rung="threads")`.
        title: one line for the progress table.
        source: its file in `extensions/reference`.
        parts: names of what the learner writes, one a marked region, in order.
        cases: key that the check program prints -> what must hold.
        mistakes: name of a known mistake -> its hint.
        findings: (kind of the sanitizer's finding, array) -> the known mistake that it shows; the kinds
            are "read", "write" and "race".
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
    def file(self) -> str:
        """The learner's file, as the panel names it: from the checkout's root."""
        return f"extensions/student/{self.ladder}/{self.name}.cpp"

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
        for rung in self.rungs:
            if rung.name == name:
                return rung
        names = ", ".join(r.name for r in self.rungs)
        given = f" Given, and not to be written: {', '.join(self.given)}." if self.given else ""
        raise UnknownExercise(f"The ladder {self.name} has no rung {name!r}. Its rungs: {names}.{given}")


def ladders_of(notebook: str) -> list[Ladder]:
    """The ladders of one notebook."""
    module = importlib.import_module(f"course_lib.classroom.exercises.{notebook}")
    return [v for v in vars(module).values() if isinstance(v, Ladder)]


def rungs_of(notebook: str) -> list[Rung]:
    """All rungs that learners write in one notebook, in order."""
    return [rung for ladder in ladders_of(notebook) for rung in ladder.rungs]


def ladders() -> list[Ladder]:
    """All ladders of the course."""
    return [ladder for notebook in notebooks() for ladder in ladders_of(notebook)]


def get_ladder(name: str) -> Ladder:
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
