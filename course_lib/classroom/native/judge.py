"""Judge one rung: compile it, run it under the sanitizers, and reach a verdict. Nothing is shown or stored here."""

import signal
from pathlib import Path

from ...lab.progress import progress
from ..verdict import CaseResult, State, Verdict
from .compiler import MODES, DoesNotCompile, build_all, check_program
from .complaint import complaint
from .ladder import Ladder, Rung
from .program import Ran, run
from .report import Finding, read_report
from .sanitizers import launcher
from .student import student_file, unwritten

TIME_LIMIT = 20.0  # seconds for one run of the check program, which takes one or two
COMPILES = "it compiles"


def judge_rung(ladder: Ladder, rung: Rung, text: str | None, ahead: tuple[str, ...] = ("races", "release")) -> Verdict:
    """Judge the learner's `text` of a rung.

    Args:
        text: None where there is no file, which counts as untouched.
        ahead: what to compile beside the first program, at the same time, since all will be needed if the
            answer is right.

    Raises:
        BuildError: there is no compiler.
    """
    left = rung.parts if text is None else unwritten(text)
    if len(left) == len(rung.parts):
        return Verdict(rung, State.UNTOUCHED, ())
    path = student_file(rung)
    phases = {phase: _mode(phase) for phase in ("memory", *(["races"] if rung.threads else []))}
    try:
        also = [phases.get(mode, mode) for mode in ahead if mode in phases or mode == "release" and not left]
        with progress(f"building {rung.id}", total=1, unit=""):
            build_all(ladder, rung, text, tuple(dict.fromkeys([phases["memory"], *also])))
    except DoesNotCompile as error:
        failure = CaseResult(COMPILES, "fail", complaint(error.words, path, text))
        return Verdict(rung, State.WRONG, (failure,))

    results: list[CaseResult] = []
    for phase, mode in phases.items():
        program = check_program(ladder, rung, text, mode)
        start = launcher(_sanitizer(mode)) if mode != "plain" else ()
        ran = run([*start, program, rung.name, phase], TIME_LIMIT)
        results += _results(rung, ran, path, text)
        if any(r.state != "pass" for r in results):
            break
    note = "" if "plain" not in phases.values() else (
        "This machine's compiler has no sanitizers that work: wrong accesses and races may have gone unnoticed."
    )  # fmt: skip
    return Verdict(rung, _state(results, left), tuple(results), note)


def _mode(mode: str) -> str:
    return "plain" if launcher(_sanitizer(mode)) is None else mode


def _sanitizer(mode: str) -> str:
    return next(flag for flag in MODES[mode] if flag.startswith("-fsanitize="))


def _state(results: list[CaseResult], left: list[str]) -> State:
    states = {r.state for r in results}
    if "fail" in states:
        return State.WRONG
    return State.PART_DONE if "left" in states or left else State.RIGHT


def _results(rung: Rung, ran: Ran, path: Path, text: str) -> list[CaseResult]:
    """One result for each case that began. Only the last can be another than a pass."""
    lines = [line for line in ran.lines if line[0] in ("case", "problem", *_LAST)]
    keys = [line[1] for line in lines if line[0] == "case"]
    if not keys:
        return [CaseResult("the check begins", "fail", _broken(ran))]
    results = [CaseResult(rung.cases[key], "pass") for key in keys]
    end = lines[-1]
    if end[0] == "done":
        return results
    title = rung.cases[keys[-1]]
    problem = next((line[1] for line in reversed(lines) if line[0] == "problem"), "")
    if end[0] == "left":
        left = [CaseResult(title, "left", end[1])]
        begun = list(rung.cases).index(keys[-1])
        return results[:-1] + left + [CaseResult(t, "left") for t in list(rung.cases.values())[begun + 1 :]]
    if end[0] in _LAST:
        message, mistake = _LAST[end[0]](rung.output, end[1:])
    else:
        message, mistake = _unfinished(rung, ran, path, text)
    known = mistake if mistake in rung.mistakes else None
    return [*results[:-1], CaseResult(title, "fail", f"{problem}\n{message}", known)]


def _differs(output: str, fields: list[str]) -> tuple[str, str | None]:
    m, n, given, wanted, tolerance, wrong, count, mistake = fields
    if given in ("nan", "-nan"):
        given += " (never written, or computed from what was never written)"
    return (
        f"  {output}[{m}, {n}]  given {given}, wanted {wanted} within {tolerance}\n  {wrong} of {count} values differ",
        mistake,
    )


def _bits(output: str, fields: list[str]) -> tuple[str, str | None]:
    m, n, given, elsewhere = fields
    return (
        f"  {output}[{m}, {n}]  given {given} with several workers, {elsewhere} with one\n"
        "Each sum must be added up by one worker, in one order: a model must not answer differently on another machine.",
        "split_sum",
    )


def _unshared(output: str, fields: list[str]) -> tuple[str, str | None]:
    tasks, workers = fields
    return f"There were {tasks} tasks for {workers} workers, so some had nothing to do.", "unshared"


_LAST = {"differs": _differs, "bits": _bits, "unshared": _unshared, "left": None, "done": None}


def _unfinished(rung: Rung, ran: Ran, path: Path, text: str) -> tuple[str, str | None]:
    finding = read_report(ran.errors, path)
    if ran.stopped:
        line = finding.line if finding else None
        message = f"Your code was stopped after {TIME_LIMIT:g} seconds: it loops for ever, or waits for ever."
        return f"{message}{_quoted(line, text)}", "endless"
    if finding is None:
        return _broken(ran), None
    mistake = rung.findings.get((finding.kind, finding.array))
    return f"{finding.words}{_quoted(finding.line, text)}{_other(finding, text)}", mistake


def _other(finding: Finding, text: str) -> str:
    if finding.other_line in (None, finding.line):
        return ""
    return "\nand at the same time" + _quoted(finding.other_line, text)


def _quoted(line: int | None, text: str) -> str:
    lines = text.splitlines()
    if line is None or not 0 < line <= len(lines):
        return ""
    return f"\n  in your code, line {line}: {lines[line - 1].strip()}"


def _broken(ran: Ran) -> str:
    if ran.status < 0:
        return f"The program was ended by {signal.Signals(-ran.status).name}."
    last = "\n".join(f"  {line}" for line in ran.errors.strip().splitlines()[-5:])
    return f"The program ended with status {ran.status} before the check was done.\n{last}".rstrip()
