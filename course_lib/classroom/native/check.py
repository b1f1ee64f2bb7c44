"""`check_kernel`: build, check and measure one rung, show what came out, return what the notebook uses."""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ...kernels.toolchain import BuildError
from ...paths import store_dir
from ..panel import show, summary
from ..progress import record
from ..verdict import CheckFailed, State, Verdict
from .compiler import library
from .judge import judge_rung
from .judge_metal import judge_metal, metal_file
from .ladder import Ladder, MetalLadder, Rung, get_ladder
from .student import student_file


def check_kernel(ladder: str, *, rung: str) -> Callable:
    """Judge the learner's file of one rung; where it is right, measure it against the rungs below it.

    Args:
        ladder: for example "quantized_matmul" (C++) or "quantized_matmul.metal".
        rung: for example "threads"; its file is `extensions/student/quantized_matmul/threads.cpp`.

    Returns:
        The kernel, as a callable on MLX arrays: the learner's when it is right, else the reference's, so that
        the notebook runs on.

    Raises:
        CheckFailed: the kernel is wrong, or does not compile. With COURSE_STRICT=1 also when it is untouched
            or part-done.
        UnknownExercise: no such ladder or rung.
        BuildError: there is no compiler, and something to compile.
    """
    chosen = get_ladder(ladder)
    answer = chosen.rung(rung)
    text = read_text(answer)
    verdict = judge(chosen, answer, text)
    record(verdict)
    strict = os.environ.get("COURSE_STRICT") == "1"
    # Notes tell what this machine lacks. In strict mode panels are compared with stored ones, from another machine.
    show(replace(verdict, note="") if strict else verdict)
    right = verdict.state is State.RIGHT
    if verdict.state is State.WRONG or (strict and not right):
        raise CheckFailed(summary(verdict))
    if not right:
        return chosen.load(None, rung)
    _keep(answer, text)
    kernel = chosen.load(_built(chosen, answer, text), rung)
    _show_benchmark(chosen, answer, kernel)
    return kernel


def kept_kernel(ladder: str, *, rung: str) -> Callable:
    """The learner's right kernel of a rung, as it was at its last right check, else the reference's.

    It is compiled again if need be, for this machine and the course as it is now. One that no longer compiles
    is replaced by the reference, with a word on stderr.
    """
    chosen = get_ladder(ladder)
    answer = chosen.rung(rung)
    path = answer_file(answer)
    if not path.exists():
        return chosen.load(None, rung)
    try:
        return chosen.load(_built(chosen, answer, path.read_text(encoding="utf-8")), rung)
    except Exception as error:  # whatever the reason: the notebook goes on
        if isinstance(error, BuildError):
            raise
        print(f"Your kept {answer.id} does not compile any more; the reference stands in. Check it again.", file=sys.stderr)
        return chosen.load(None, rung)


def judge(ladder: Ladder | MetalLadder, rung: Rung, text: str | None) -> Verdict:
    """The verdict on the learner's `text` of a rung; None where there is no file."""
    return judge_metal(ladder, rung, text) if isinstance(ladder, MetalLadder) else judge_rung(ladder, rung, text)


def _built(ladder: Ladder | MetalLadder, rung: Rung, text: str) -> Path:
    """What `ladder.load` takes: a library, or a .metal file that no later edit changes."""
    return metal_file(rung, text) if isinstance(ladder, MetalLadder) else library(ladder, rung, text)


def read_text(rung: Rung) -> str | None:
    path = student_file(rung)
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else None


def answer_file(rung: Rung) -> Path:
    """Where the last right version of a rung is kept."""
    return store_dir() / "answers" / f"{rung.id}{rung.suffix}"


def _keep(rung: Rung, text: str) -> None:
    path = answer_file(rung)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def _show_benchmark(ladder: Ladder | MetalLadder, rung: Rung, kernel: Callable) -> None:
    """The learner's rung beside all below it and the reference's own version of it."""
    from ...lab.picture import show as show_figure

    below = [r.name for r in ladder.rungs[: ladder.rungs.index(rung)]]
    kernels = {name: ladder.load(None, name) for name in (*ladder.given, *below)}
    figure, alt = ladder.benchmark({**kernels, f"yours: {rung.name}": kernel, f"reference: {rung.name}": ladder.load(None, rung.name)})
    show_figure(figure, alt=alt)
