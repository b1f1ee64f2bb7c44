"""The checks of native kernels are proven: each wrong version is rejected with its own hint, others pass.

Compiling takes most of the time; what was compiled once is kept in the user's cache folder.
"""

import importlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from mutants.native import NATIVE_MUTANTS, NATIVE_RIVALS, NativeMutant

from course_lib.classroom.exercise import notebooks
from course_lib.classroom.native.judge import judge_rung
from course_lib.classroom.native.judge_metal import judge_metal
from course_lib.classroom.native.ladder import MetalLadder, get_ladder, ladders, rungs_of
from course_lib.classroom.native.student import solved_text, starter_text
from course_lib.classroom.verdict import State
from course_lib.kernels.toolchain import find_compiler
from course_lib.lab.machine import cores

for name in notebooks():
    if rungs_of(name):
        importlib.import_module(f"mutants.{name}")

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="there is no C++ compiler")
RUNGS = [rung for ladder in ladders() for rung in ladder.rungs]
each_rung = pytest.mark.parametrize("rung", RUNGS, ids=lambda rung: rung.id)


def judge(rung_id, change):
    name, _, rung = rung_id.rpartition(".")
    ladder = get_ladder(name)
    rung = ladder.rung(rung)
    text = change(solved_text(rung))
    return judge_metal(ladder, rung, text) if isinstance(ladder, MetalLadder) else judge_rung(ladder, rung, text, ahead=())


@pytest.fixture(scope="module")
def verdict_of(request):
    """Judges all mutants and rivals that were selected, on all cores, since the compiler uses one."""
    chosen = [item.callspec.params for item in request.session.items if item.path == request.path and hasattr(item, "callspec")]
    changed = {str(v): v for params in chosen for v in params.values() if isinstance(v, NativeMutant)}
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(cores()) as pool:
        patch.setattr("course_lib.classroom.native.judge.TIME_LIMIT", 10.0)  # what is right takes a second
        patch.setattr("course_lib.classroom.native.judge_metal.TIME_LIMIT", 3.0)  # and in Metal a few hundredths
        futures = {name: pool.submit(judge, v.rung, v.apply) for name, v in changed.items()}
        yield lambda version: futures[str(version)].result()


@pytest.mark.parametrize("mutant", NATIVE_MUTANTS, ids=str)
def test_a_wrong_kernel_is_rejected_with_its_own_hint(mutant, verdict_of):
    verdict = verdict_of(mutant)
    assert verdict.state is State.WRONG
    assert verdict.mistake == mutant.mistake, verdict.failure.message


@pytest.mark.parametrize("rival", NATIVE_RIVALS, ids=str)
def test_a_differently_designed_right_kernel_passes(rival, verdict_of):
    verdict = verdict_of(rival)
    assert verdict.state is State.RIGHT, verdict.failure.message


@each_rung
def test_the_reference_passes_every_case(rung):
    verdict = judge(rung.id, lambda text: text)
    assert verdict.state is State.RIGHT, verdict.failure.message
    assert [r.title for r in verdict.results] == list(rung.cases.values())


@each_rung
def test_what_is_given_is_untouched(rung):
    verdict = judge(rung.id, lambda text: starter_text(rung))
    assert (verdict.state, verdict.results) == (State.UNTOUCHED, ())


@each_rung
def test_every_known_mistake_has_a_mutant_and_a_hint_of_its_own(rung):
    shown = {m.mistake for m in NATIVE_MUTANTS if m.rung == rung.id}
    assert set(rung.mistakes) <= shown
    assert set(rung.findings.values()) <= set(rung.mistakes)
    assert len(set(rung.mistakes.values())) == len(rung.mistakes)
    assert any(r.rung == rung.id for r in NATIVE_RIVALS)
