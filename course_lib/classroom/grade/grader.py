"""Start a process for each exercise, with limits, and gather what comes back."""

import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from ...lab.machine import cores
from ...paths import CHECKOUT, cache_dir
from ..author.build import Lesson, lessons
from ..exercise import Exercise, exercises_of, notebooks
from ..native.ladder import Rung, rungs_of
from ..native.student import unwritten
from .judge_one import Outcome
from .report import Grade, Graded
from .submission import Submission, Unreadable, find_answer, find_submission, read_cells

START = 60.0  # seconds that Python and its imports may take on a busy machine, beside the exercise's own limit
KERNEL_LIMIT = 300.0  # seconds to compile and run one rung's checks
MOST_MEMORY = 8 * 2**30  # bytes
MOST_WRITTEN = 2**30  # bytes, of one file
MOST_REPORT = 2**20  # bytes


def grade(path: Path, only: list[Lesson] | None = None, say: Callable[[str], None] = lambda line: None) -> Grade:
    """Judge a learner's work.

    Args:
        path: a checkout, a folder of notebooks, or one notebook.
        only: these notebooks; None for all that have exercises (for the one, where `path` is one).
        say: called with a line for each notebook that is done.

    Raises:
        NoSubmission: there is nothing to grade at `path`.
    """
    submission = find_submission(path.resolve())
    wanted = only or [x for x in lessons() if submission.notebooks.is_dir() or x.stem == submission.notebooks.stem]
    wanted = [lesson for lesson in wanted if lesson.stem[3:] in notebooks()]
    graded: list[Graded] = []
    with tempfile.TemporaryDirectory(prefix="course-grade-") as folder:
        store = Path(folder) / "store"
        # Notebooks in order, since later exercises call earlier answers; what a notebook asks, side by side.
        for lesson in wanted:
            found = _grade_notebook(lesson, submission, Path(folder), store)
            graded += found
            say(f"{lesson.stem}: {sum(g.outcome.state == 'right' for g in found)} of {len(found)} right")
    return Grade(str(path), tuple(graded))


def _grade_notebook(lesson: Lesson, submission: Submission, folder: Path, store: Path) -> list[Graded]:
    module = lesson.stem[3:]
    exercises, rungs = exercises_of(module), rungs_of(module)
    path, problem, cells = submission.notebook(lesson.stem), "", []
    if path is None:
        problem = f"there is no {lesson.stem}.ipynb"
    else:
        try:
            cells = read_cells(path)
        except Unreadable as error:
            problem = str(error)
    outcomes: dict[str, Outcome] = {}
    with ThreadPoolExecutor(max(1, min(cores(), 8))) as pool:
        jobs = {rung.id: pool.submit(_grade_rung, rung, submission, folder, store) for rung in rungs}
        for exercise in exercises:
            if problem:
                outcomes[exercise.id] = Outcome("missing", total=len(exercise.cases), message=problem)
            elif any(used in jobs for used in exercise.uses):
                for used in exercise.uses:  # it calls them: theirs must be judged, and kept, first
                    if used in jobs:
                        jobs[used].result()
                jobs[exercise.id] = pool.submit(_grade_exercise, exercise, cells, folder, store)
            else:
                jobs[exercise.id] = pool.submit(_grade_exercise, exercise, cells, folder, store)
        outcomes |= {id: job.result() for id, job in jobs.items()}
    return [Graded(lesson.stem, e.id, e.title, e.stretch, outcomes[e.id]) for e in [*exercises, *rungs]]


def _grade_exercise(exercise: Exercise, cells: list[str], folder: Path, store: Path) -> Outcome:
    total = len(exercise.cases)
    answer = find_answer(cells, exercise)
    if answer is None:
        return Outcome("missing", total=total, message=f"no cell defines `{exercise.name}`")
    name, source = answer
    task = {"kind": "exercise", "id": exercise.id, "name": name, "source": source}
    outcome = _run(task, exercise.time_limit, folder, store, total)
    if outcome.state == "right":
        # Kept here, by the grader: an answer's own process has a copy of the store.
        answers = store / "answers"
        answers.mkdir(parents=True, exist_ok=True)
        renamed = "" if name == exercise.name else f"\n{exercise.name} = {name}\n"
        (answers / f"{exercise.id}.py").write_text(source + renamed, encoding="utf-8")
    return outcome


def _grade_rung(rung: Rung, submission: Submission, folder: Path, store: Path) -> Outcome:
    source, total = submission.kernel(rung), len(rung.cases)
    if source is None:
        return Outcome("missing", total=total, message=f"there is no {rung.file}")
    if len(unwritten(source)) == len(rung.parts):
        return Outcome("untouched", total=total)
    return _run({"kind": "kernel", "id": rung.id, "source": source}, KERNEL_LIMIT, folder, store, total)


def _run(task: dict, limit: float, folder: Path, store: Path, total: int) -> Outcome:
    """Judge in a process of its own, in an empty folder, with a copy of the store."""
    place = Path(tempfile.mkdtemp(dir=folder))
    try:
        if store.exists():
            shutil.copytree(store, place / "store")
        (place / "task.json").write_text(json.dumps(task), encoding="utf-8")
        (place / "home").mkdir()
        begin = time.monotonic()
        line, status, stopped = _child(place, limit + START)
        taken = time.monotonic() - begin
    finally:
        shutil.rmtree(place, ignore_errors=True)
    outcome = _read(line, total)
    if outcome is not None:
        return outcome
    if stopped:
        return Outcome("stopped", total=total, message=f"stopped after {taken:.0f} s: it did not come to an end", seconds=taken)
    how = signal.Signals(-status).name if status < 0 else f"status {status}"
    return Outcome("crashed", total=total, message=f"its process ended by {how} before there was a verdict", seconds=taken)


def _child(place: Path, limit: float) -> tuple[str, int, bool]:
    """(what it reported, exit status, was it stopped?)"""
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "course_lib.classroom.grade.judge_one", str(place / "task.json"), str(writing)]
    environment = {
        name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "LC_ALL", "CXX", "TMPDIR")
    } | {
        "COURSE_STORE": str(place / "store"), "COURSE_CACHE": str(cache_dir()), "HOME": str(place / "home"),
        "PYTHONPATH": str(CHECKOUT), "PYTHONDONTWRITEBYTECODE": "1", "COURSE_PROGRESS": "off", "COURSE_STRICT": "1",
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    child = subprocess.Popen(
        command, cwd=place, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, pass_fds=(writing,), start_new_session=True, preexec_fn=_limits,
    )  # fmt: skip
    os.close(writing)
    data, stopped, end = b"", False, time.monotonic() + limit
    try:
        with selectors.DefaultSelector() as selector, os.fdopen(reading, "rb", buffering=0) as pipe:
            selector.register(pipe, selectors.EVENT_READ)
            while len(data) < MOST_REPORT:
                left = end - time.monotonic()
                if left <= 0 or not selector.select(left):
                    stopped = True
                    break
                if not (piece := pipe.read(65536)):
                    break
                data += piece
        if not stopped:
            child.wait(max(end - time.monotonic(), 1))
    except subprocess.TimeoutExpired:
        stopped = True
    finally:
        try:
            os.killpg(child.pid, signal.SIGKILL)  # whatever it started, too
        except (ProcessLookupError, PermissionError):
            pass
        child.wait()
    return data.decode("utf-8", "replace"), child.returncode, stopped


def _limits() -> None:
    """In the child, before Python starts: bounded memory and files, no core dumps."""
    import resource

    wanted = {resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: MOST_WRITTEN}
    if sys.platform == "linux":
        wanted[resource.RLIMIT_DATA] = MOST_MEMORY
    for kind, most in wanted.items():
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        try:
            resource.setrlimit(kind, (most, most))
        except (OSError, ValueError):
            pass


STATES = ("right", "wrong", "part-done", "untouched", "crashed")


def _read(line: str, total: int) -> Outcome | None:
    """What a child reported, if it makes sense: an answer may have written there."""
    try:
        outcome = Outcome(**json.loads(line))
        sensible = (
            outcome.state in STATES and isinstance(outcome.passed, int) and 0 <= outcome.passed <= total
            and isinstance(outcome.message, str) and isinstance(outcome.hint, str) and isinstance(outcome.seconds, float)
        )  # fmt: skip
    except (ValueError, TypeError):
        return None
    if not sensible or (outcome.state == "right" and outcome.passed != total):
        return None
    return replace(outcome, total=total, message=outcome.message[:4000], hint=outcome.hint[:1000])
