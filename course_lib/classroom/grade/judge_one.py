"""Judge one exercise or rung, in this process: `python -m course_lib.classroom.grade.judge_one FILE`.

FILE is JSON: {"id": ..., "name": ..., "source": ...}. The verdict goes, as one line of JSON, to the file descriptor that
the grader names; what the answer prints goes nowhere.
"""

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Outcome:
    """What came of an exercise.

    Attributes:
        state: "right", "wrong", "part-done", "untouched", "missing", or for what ended in another way than with a
            verdict: "crashed", "stopped".
        passed, total: cases.
        message: the first failure, or what happened.
        hint: of the known mistake, if it is one.
        seconds: that it took, without starting Python.
    """

    state: str
    passed: int = 0
    total: int = 0
    message: str = ""
    hint: str = ""
    seconds: float = 0.0


def judge_source(id: str, name: str, source: str) -> Outcome:
    """Judge an answer's cell as if it were kept, alone; a right one is kept for those that build on it."""
    from ..exercise import get_exercise
    from ..judge import judge
    from ..kept import CannotKeep, run_alone

    exercise = get_exercise(id)
    total = len(exercise.cases)
    try:
        answer = run_alone(exercise, source, name)
    except CannotKeep as reason:
        return Outcome("wrong", 0, total, str(reason))
    except SyntaxError as error:
        return Outcome("wrong", 0, total, f"SyntaxError: {error}")
    return _outcome(judge(exercise, answer))


def judge_kernel(id: str, source: str) -> Outcome:
    """Judge a learner's file of a native kernel."""
    from ..native.check import judge
    from ..native.ladder import get_ladder

    ladder, _, name = id.rpartition(".")
    chosen = get_ladder(ladder)
    return _outcome(judge(chosen, chosen.rung(name), source))


def _outcome(verdict) -> Outcome:
    failure = verdict.failure
    message = f"{failure.title}: {failure.message}" if failure else ""
    return Outcome(verdict.state.value, verdict.passed, verdict.total, message, verdict.hint or "")


def main(path: str, descriptor: str) -> None:
    import time

    task = json.loads(Path(path).read_text(encoding="utf-8"))
    report = os.fdopen(int(descriptor), "w", encoding="utf-8")
    os.set_inheritable(report.fileno(), False)
    begin = time.perf_counter()
    try:
        if task["kind"] == "kernel":
            outcome = judge_kernel(task["id"], task["source"])
        else:
            outcome = judge_source(task["id"], task["name"], task["source"])
    except BaseException as error:  # SystemExit, KeyboardInterrupt, a time limit: whatever the answer raised
        outcome = Outcome("crashed", message=f"{type(error).__name__}: {error}"[:500])
    seconds = round(time.perf_counter() - begin, 3)
    json.dump({**asdict(outcome), "seconds": seconds}, report)
    report.flush()
    os._exit(0)  # threads that an answer left behind are not waited for


if __name__ == "__main__":
    main(*sys.argv[1:])
