"""Take the learner's kept answers for the engine's places, and check them again."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from ...kernels.toolchain import BuildError
from ..exercise import Exercise, exercises_of, get_exercise, notebooks
from ..judge import judge
from ..kept import CannotKeep, is_kept, kept
from ..native.check import answer_file
from ..native.compiler import DoesNotCompile, library
from ..native.judge import judge_rung
from ..native.ladder import Ladder, Rung, get_ladder, ladders_of
from ..verdict import State, Verdict
from .slots import Slot, slots_for


class BrokenPart(Exception):
    """A kept answer that is not right any more, or does not run. The message names it and says what to do."""


@dataclass(frozen=True)
class Part:
    """What stands in a place of the engine.

    Attributes:
        value: the learner's answer; None for the reference.
        id: whose exercise or rung it is; None for the reference.
        checks: how many cases pass, as "7 of 7"; "" for the reference.
        note: a sentence for the scoreboard: why the reference stands here though there is an answer, for example.
    """

    slot: Slot
    value: Any = None
    id: str | None = None
    checks: str = ""
    note: str = ""

    @property
    def is_yours(self) -> bool:
        return self.value is not None


def choose_parts(cache: str, reference: Collection[str] = (), slow: bool = False) -> list[Part]:
    """A part for each place of an engine with this cache.

    Args:
        reference: names of places where the reference is to stand whatever is kept.
        slow: take Python answers, too, where the native kernels are far faster.

    Raises:
        BrokenPart: an answer that is to be used does not load, or does not pass its check.
        ValueError: `reference` names no place.
    """
    slots = slots_for(cache)
    known = {slot.name for kind in ("blocks", "rows", "requests") for slot in slots_for(kind)}
    if strangers := set(reference) - known:
        raise ValueError(f"reference={sorted(strangers)}; the engine's places are {', '.join(sorted(known))}")
    parts, broken = [], []
    for slot in slots:
        try:
            parts.append(_part(slot, slot.name in reference, slow))
        except BrokenPart as reason:
            broken.append((slot.name, str(reason)))
    if broken:
        names = ", ".join(f'"{name}"' for name, _ in broken)
        reasons = "\n".join(reason for _, reason in broken)
        raise BrokenPart(f"{reasons}\nOr let the reference stand in for now: my_engine(reference=[{names}])")
    return parts


def _part(slot: Slot, use_reference: bool, slow: bool) -> Part:
    mine = [id for id in (*slot.answers, *slot.slow) if _is_kept(id)]
    if use_reference:
        return Part(slot, note="as you asked" if mine else "")
    usable = [id for id in mine if slow or id not in slot.slow]
    if not mine:
        return Part(slot)
    if not usable:
        return Part(slot, note=f"yours ({mine[0]}) is Python and far slower than the native kernel; slow=True puts it in")
    chosen = usable[0]
    rung = _rung(chosen)
    if rung and mx.default_device() != mx.cpu:
        return Part(slot, note=f"yours ({chosen}) is for the CPU, and this engine runs on the GPU")
    value, verdict = _load_rung(*rung) if rung else _load(get_exercise(chosen))
    with_it = [id.split(".")[1] for id in slot.with_it if id != chosen and _is_kept(id)]
    note = f"with your {', '.join(with_it)}" if with_it else ""
    if chosen in slot.slow:
        note = "Python: far slower than the native kernel"
    return Part(slot, value, chosen, f"{verdict.passed} of {verdict.total}", note)


def _load(exercise: Exercise) -> tuple[Any, Verdict]:
    try:
        value = kept(exercise.id)
    except CannotKeep as reason:
        raise BrokenPart(str(reason)) from None
    verdict = judge(exercise, value)
    _demand_right(verdict, f"notebook {exercise.notebook}")
    return value, verdict


def _load_rung(ladder: Ladder, rung: Rung) -> tuple[Any, Verdict]:
    text = answer_file(rung).read_text(encoding="utf-8")
    verdict = judge_rung(ladder, rung, text)
    _demand_right(verdict, f"the file {rung.file}")
    try:
        return ladder.load(library(ladder, rung, text), rung.name), verdict
    except (BuildError, DoesNotCompile, RuntimeError, ValueError) as error:
        raise BrokenPart(f"Your kept {rung.id} cannot be loaded: {str(error).splitlines()[0]}") from None


def _demand_right(verdict: Verdict, where: str) -> None:
    if verdict.state is State.RIGHT:
        return
    failure = verdict.failure
    words = f"case “{failure.title}”: {failure.message.splitlines()[0]}" if failure else "something is left to write"
    raise BrokenPart(f"Your kept {verdict.exercise.id} is not right any more ({words}). Mend it in {where} and run its check.")


def _is_kept(id: str) -> bool:
    rung = _rung(id)
    return answer_file(rung[1]).exists() if rung else is_kept(id)


def _rung(id: str) -> tuple[Ladder, Rung] | None:
    """The rung with this id, or None where it is an exercise's."""
    name, _, rung = id.rpartition(".")
    if name in notebooks():
        return None
    ladder = get_ladder(name)
    return ladder, ladder.rung(rung)


def kept_elsewhere(parts: Collection[Part]) -> dict[str, list[str]]:
    """Notebook -> ids of what is kept and has no place in this engine: it taught something, or needs a GPU."""
    inside = {part.id for part in parts if part.is_yours}
    inside |= {id for part in parts if part.is_yours for id in part.slot.with_it}
    found = {}
    for notebook in notebooks():
        ids = [e.id for e in exercises_of(notebook) if is_kept(e.id)]
        ids += [r.id for ladder in ladders_of(notebook) for r in ladder.rungs if answer_file(r).exists()]
        if left := [id for id in ids if id not in inside]:
            found[notebook] = left
    return found
