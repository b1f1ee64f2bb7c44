"""The checks are proven: every wrong answer is rejected, with its own hint, and other right answers pass."""

import importlib
import types

import mutants
import pytest
from mutants import MUTANTS, RIVALS

from course_lib.classroom.exercise import COMMON_MISTAKES, exercises_of, notebooks
from course_lib.classroom.judge import judge
from course_lib.classroom.verdict import State

for name in notebooks():
    importlib.import_module(f"mutants.{name}")

EXERCISES = {e.id: e for n in notebooks() for e in exercises_of(n)}
by_id = pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES.keys())


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_wrong_answer_is_rejected_with_its_own_hint(mutant):
    verdict = judge(EXERCISES[mutant.exercise], mutant.answer)
    assert verdict.state is State.WRONG
    assert verdict.mistake == mutant.mistake, verdict.failure.message


@pytest.mark.parametrize("rival", RIVALS, ids=str)
def test_a_differently_designed_right_answer_passes(rival):
    verdict = judge(EXERCISES[rival.exercise], rival.answer)
    assert verdict.state is State.RIGHT, verdict.failure.message


@by_id
def test_the_reference_meets_its_own_oracle(exercise):
    # A twin, since the reference itself counts as untouched.
    verdict = judge(exercise, _twin(exercise.reference))
    assert verdict.state is State.RIGHT, verdict.failure.message


@by_id
def test_every_known_mistake_has_a_mutant_and_a_hint_of_its_own(exercise):
    shown = {m.mistake for m in MUTANTS if m.exercise == exercise.id}
    own = set(exercise.mistakes) - set(COMMON_MISTAKES)
    assert own <= shown
    assert len(set(exercise.mistakes.values())) == len(exercise.mistakes)


@by_id
def test_every_exercise_has_three_mutants_and_a_rival(exercise):
    assert sum(m.exercise == exercise.id for m in MUTANTS) >= 3
    assert any(r.exercise == exercise.id for r in RIVALS)


def test_every_mutant_is_of_an_exercise_that_exists():
    assert {m.exercise for m in mutants.MUTANTS} | {r.exercise for r in mutants.RIVALS} <= set(EXERCISES)


def _twin(reference):
    if isinstance(reference, type):
        return type(reference.__name__, (reference,), {})
    twin = types.FunctionType(
        reference.__code__, reference.__globals__, reference.__name__, reference.__defaults__, reference.__closure__
    )
    twin.__kwdefaults__ = reference.__kwdefaults__  # defaults of keyword-only arguments, which the constructor does not take
    return twin
