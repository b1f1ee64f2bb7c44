"""What a check found: the state of an exercise and of each of its cases."""

from dataclasses import dataclass
from enum import Enum

from .exercise import Exercise


class State(str, Enum):
    """The four states of an exercise, and "new" for one that was never checked."""

    NEW = "new"
    UNTOUCHED = "untouched"
    PART_DONE = "part-done"
    WRONG = "wrong"
    RIGHT = "right"


@dataclass(frozen=True)
class CaseResult:
    """One case: `state` is "pass", "fail" or "left" (it met a NotImplementedError)."""

    title: str
    state: str
    message: str = ""
    mistake: str | None = None


@dataclass(frozen=True)
class Verdict:
    """The outcome of one check.

    Attributes:
        results: one entry a case, in order. Empty when the answer was the reference itself.
        note: a sentence for the panel's foot, such as why a right answer could not be kept.
    """

    exercise: Exercise
    state: State
    results: tuple[CaseResult, ...]
    note: str = ""

    @property
    def total(self) -> int:
        return len(self.exercise.cases)

    @property
    def passed(self) -> int:
        return sum(r.state == "pass" for r in self.results)

    @property
    def failure(self) -> CaseResult | None:
        """The first case that failed."""
        return next((r for r in self.results if r.state == "fail"), None)

    @property
    def mistake(self) -> str | None:
        """The known mistake that the failures point to: the first that was recognised."""
        return next((r.mistake for r in self.results if r.state == "fail" and r.mistake), None)

    @property
    def hint(self) -> str | None:
        return self.exercise.mistakes[self.mistake] if self.mistake else None


class CheckFailed(Exception):
    """A check found a wrong answer (or, under COURSE_STRICT=1, one that is missing)."""

    def __init__(self, summary: str):
        super().__init__(summary)

    def _render_traceback_(self):
        """What IPython prints below the panel: one line. The panel has said the rest."""
        return [f"CheckFailed: {str(self).splitlines()[0]} (see the panel above)"]
