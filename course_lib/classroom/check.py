"""`check`: judge an answer, show a panel, and return what the rest of the notebook uses."""

import os

from .exercise import get_exercise
from .judge import judge
from .kept import CannotKeep, keep
from .panel import show, summary
from .progress import record
from .verdict import CheckFailed, State, Verdict


def check(exercise_id: str, answer):
    """Judge the learner's answer to an exercise.

    Args:
        exercise_id: `<notebook>.<exercise>`, for example "kv_cache.concat".
        answer: the learner's function or class.

    Returns:
        The answer when it is right. The reference version when the answer is untouched or part-done, so
        that the notebook runs on.

    Raises:
        CheckFailed: the answer is wrong. With COURSE_STRICT=1 also when it is untouched or part-done.
        UnknownExercise: no exercise has this id.
    """
    exercise = get_exercise(exercise_id)
    verdict = judge(exercise, answer)
    if verdict.state is State.RIGHT:
        try:
            keep(exercise, answer)
        except CannotKeep as reason:
            verdict = Verdict(exercise, verdict.state, verdict.results, f"Right, but not kept. {reason}")
    record(verdict)
    show(verdict)
    strict = os.environ.get("COURSE_STRICT") == "1"
    if verdict.state is State.WRONG or (strict and verdict.state is not State.RIGHT):
        # Raised from here, not from the case: the panel has said where, the traceback stays short.
        raise CheckFailed(summary(verdict))
    return answer if verdict.state is State.RIGHT else exercise.reference
