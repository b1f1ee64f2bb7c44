"""Judge one rung in Metal: run it in the sanitizing emulator, check its types, and reach a verdict.

Everything happens in child processes: what a kernel does, the notebook survives. Where there is an Apple GPU, the
kernel runs on it, too, once the emulator has found nothing. Nothing is shown or stored here.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import mlx.core as mx
import numpy as np

from ...kernels.metal import Finding, MetalError, MetalFault, MetalSyntaxError
from ...kernels.metal.apple import available as apple_gpu
from ...kernels.metal.finding import KINDS
from ...lab.progress import progress
from ...paths import cache_dir
from ..verdict import CaseResult, State, Verdict
from .judge import COMPILES
from .ladder import MetalLadder, MetalProblem, Rung
from .student import unwritten

TIME_LIMIT = 10.0  # seconds for one launch in the emulator, which takes a few hundredths
ON_GPU = "On this machine's GPU:\n"
NO_STRICT_MODE = (
    "Strict mode, which knows what Metal's compiler refuses, was left out: it needs clang 16 or later, or the Python package `ziglang`."
)
# What a kernel of which a part is missing can be blamed for.
OWN_FAULTS = ("out_of_bounds", "undefined", "crash", "stack_overflow", "time_limit", "threadgroup_memory")


def judge_metal(ladder: MetalLadder, rung: Rung, text: str | None) -> Verdict:
    """Judge the learner's `text` of a rung.

    Args:
        text: None where there is no file, which counts as untouched.

    Raises:
        BuildError: there is no C++ compiler, by which the emulator makes programs of kernels.
    """
    left = list(rung.parts) if text is None else unwritten(text)
    if len(left) == len(rung.parts):
        return Verdict(rung, State.UNTOUCHED, ())
    problems = {case: ladder.problems(rung.name, case) for case in rung.cases}
    results, note = [], ""
    with progress(f"checking {rung.id}", total=len(rung.cases), unit="cases") as bar:
        try:
            kernel = ladder.load(metal_file(rung, text), rung.name)
            note = _compile(kernel, problems.values())
        except (MetalSyntaxError, ValueError) as error:  # ValueError: the file has no such kernel any more
            return Verdict(rung, State.WRONG, (CaseResult(COMPILES, "fail", str(error)),))
        for case, title in rung.cases.items():
            results.append(_case(rung, title, kernel, problems[case], text, left))
            if results[-1].state == "fail":
                return Verdict(rung, State.WRONG, tuple(results), note)
            bar.advance()
    if not left:
        return Verdict(rung, State.RIGHT, tuple(results), note)
    compiles = CaseResult(f"{COMPILES}, and what is written keeps inside its arrays", "pass")
    waiting = [CaseResult(title, "left", f"{left[0]} is not written yet") for title in rung.cases.values()]
    return Verdict(rung, State.PART_DONE, (compiles, *waiting), note)


def metal_file(rung: Rung, text: str) -> Path:
    """A file with the learner's text, under the learner's file name, that no later edit changes."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    path = cache_dir() / "native" / "metal" / digest / f"{rung.name}.metal"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{os.getpid()}-{path.name}")
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    return path


def _compile(kernel, cases) -> str:
    """Check the types of the first call of each case, as Metal's compiler would; returns a note for the panel.

    Raises:
        MetalSyntaxError: something does not compile.
    """
    note = ""
    for problem in (problems[0] for problems in cases):
        try:
            kernel.check_types(*problem.arguments, **problem.keywords)
        except MetalSyntaxError:
            raise
        except MetalError:
            note = NO_STRICT_MODE
    return note


def _case(rung: Rung, title: str, kernel, problems: Sequence[MetalProblem], text: str, left: list[str]) -> CaseResult:
    for problem in problems:
        try:
            found = _judge(rung, kernel, problem, text, left)
        except (MetalError, ValueError) as error:
            found = str(error), None
        if found:
            message, mistake = found
            known = mistake if mistake in rung.mistakes else None
            return CaseResult(title, "fail", f"{problem.words}\n{message}", known)
    return CaseResult(title, "pass")


def _judge(rung: Rung, kernel, problem: MetalProblem, text: str, left: list[str]) -> tuple[str, str | None] | None:
    """What is wrong with the answer to one problem and the known mistake that it shows, or None."""
    seen = kernel.inspect(*problem.arguments, **problem.keywords, time_limit=TIME_LIMIT)
    findings = [finding for launch in seen for finding in launch.findings]
    if left:
        findings = [finding for finding in findings if finding.kind in OWN_FAULTS]
    if findings:
        return _told(findings, text), next(
            (rung.findings[key] for f in findings if (key := (f.kind, _variable(f))) in rung.findings), None
        )
    if left:
        return None
    if wrong := compare(rung, problem, seen[-1].outputs[0]):
        return wrong
    if apple_gpu():
        try:
            given = kernel(*problem.arguments, **problem.keywords, stream=mx.gpu)
            wrong = compare(rung, problem, given)
        except MetalFault:
            raise
        except RuntimeError as error:  # MLX has the words of Metal's own compiler
            wrong = str(error), None
        return wrong and (ON_GPU + wrong[0], wrong[1])
    return None


def compare(rung: Rung, problem: MetalProblem, given: mx.array) -> tuple[str, str | None] | None:
    """In which way values are wrong, and the known mistake that gives such; None if they are right."""
    values = np.array(given.astype(mx.float32)).astype(np.float64)
    wanted = np.asarray(problem.wanted, np.float64)
    if values.shape != wanted.shape:
        return f"  the shape is {list(values.shape)}, wanted {list(wanted.shape)}", None
    tolerance = np.broadcast_to(problem.tolerance, wanted.shape)
    wrong = _differ(values, wanted, tolerance)
    if not wrong.any():
        return None
    at = tuple(np.argwhere(wrong)[0])
    shown = f"{values[at]:.6g}"
    if np.isnan(values[at]):
        shown += " (never written, or computed from what was never written)"
    place = ", ".join(str(i) for i in at)
    message = (
        f"  {rung.output}[{place}]  given {shown}, wanted {wanted[at]:.6g} within {tolerance[at]:.2g}\n"
        f"  {wrong.sum()} of {wrong.size} values differ"
    )
    for name, expected in problem.mistakes.items():
        if name in rung.mistakes and _made(expected, values, tolerance):
            return message, name
    return message, None


def _differ(values: np.ndarray, wanted: np.ndarray, tolerance: np.ndarray) -> np.ndarray:
    return ~(np.abs(values - wanted) <= tolerance)  # NaN differs


def _made(expected, values: np.ndarray, tolerance: np.ndarray) -> bool:
    if callable(expected):
        return bool(expected(values))
    return not _differ(values, np.asarray(expected, np.float64), tolerance).any()


def _told(findings: list[Finding], text: str) -> str:
    """The first finding in words, with the learner's lines."""
    first = findings[0]
    lines = text.splitlines()
    said = [f"{_capital(KINDS[first.kind])}. {_capital(first.message)}"]
    for line, words in ((first.line, "in your code, line"), (first.other_line, "and line")):
        if line is not None and 0 < line <= len(lines) and (words != "and line" or line != first.line):
            said.append(f"  {words} {line}: {lines[line - 1].strip()}")
    if more := len(findings) - 1:
        said.append(f"{more} more finding{'s' * (more > 1)}: mend this one first.")
    return "\n".join(said)


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _variable(finding: Finding) -> str:
    return finding.buffer or ""
