"""Run an exercise's cases on an answer and reach a verdict. Nothing is shown or stored here."""

import re
import traceback

from .exercise import Case, Exercise
from .mismatch import Mismatch
from .source import definition_file
from .time_limit import TimeLimitExceeded, time_limit
from .trial import Trial
from .verdict import CaseResult, State, Verdict


def judge(exercise: Exercise, answer) -> Verdict:
    """Run every case of `exercise` on `answer`.

    The reference itself counts as untouched: a check cell that is run twice gives the reference back to
    the check, and this is not an answer of the learner's.
    """
    if answer is exercise.reference:
        return Verdict(exercise, State.UNTOUCHED, ())
    if not callable(answer):
        result = CaseResult("the answer", "fail", f"`{exercise.name}` is {answer!r:.80}, not a function or class.")
        return Verdict(exercise, State.WRONG, (result,))
    return Verdict(exercise, *_run_cases(exercise, answer))


def _run_cases(exercise: Exercise, answer) -> tuple[State, tuple[CaseResult, ...]]:
    results: list[CaseResult] = []
    try:
        with time_limit(exercise.time_limit):
            for seed, case in enumerate(exercise.cases):
                results.append(_run_case(case, answer, seed))
    except TimeLimitExceeded as stopped:
        case = exercise.cases[len(results)]
        where = _line_of(stopped, answer)
        message = (
            f"Your code was stopped after {exercise.time_limit:g} seconds: it loops for ever, or does far more "
            f"work than the case needs.{where}"
        )
        results.append(CaseResult(case.title, "fail", message, _mistake_of(case, f"TimeLimitExceeded: {message}")))
    return _state(results), tuple(results)


def _state(results: list[CaseResult]) -> State:
    states = {r.state for r in results}
    if "fail" in states:
        return State.WRONG
    if states == {"left"}:
        return State.UNTOUCHED
    return State.PART_DONE if "left" in states else State.RIGHT


def _run_case(case: Case, answer, seed: int) -> CaseResult:
    trial = Trial(seed)
    try:
        case.run(answer, trial)
        trial.check_inputs()
    except NotImplementedError:
        return CaseResult(case.title, "left")
    except Mismatch as found:
        return CaseResult(case.title, "fail", found.message, found.mistake)
    except (Exception, SystemExit) as raised:
        summary = f"{type(raised).__name__}: {raised}"
        message = f"{summary}{_line_of(raised, answer)}"
        return CaseResult(case.title, "fail", message, _mistake_of(case, summary))
    return CaseResult(case.title, "pass")


def _mistake_of(case: Case, summary: str) -> str | None:
    return next((name for name, pattern in case.errors.items() if re.search(pattern, summary)), None)


def _line_of(raised: BaseException, answer) -> str:
    """Where in the learner's cell it happened, or nothing when it happened outside of it."""
    filename = definition_file(answer)
    frames = [f for f in traceback.extract_tb(raised.__traceback__) if f.filename == filename]
    if not frames:
        return ""
    return f"\n  in your code, line {frames[-1].lineno}: {frames[-1].line}"
