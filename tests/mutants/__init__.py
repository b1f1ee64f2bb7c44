"""Named wrong answers that the checks must reject, and differently designed right ones that must pass.

A module a notebook. `@mutant(id, mistake)` marks a wrong answer, with the known mistake whose hint must be
shown (None: rejected, without a hint of its own); `@rival(id)` marks a right answer unlike the reference.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    exercise: str
    mistake: str | None
    answer: object

    def __str__(self):
        return f"{self.exercise}-{self.mistake or self.answer.__name__}"


@dataclass(frozen=True)
class Rival:
    exercise: str
    answer: object

    def __str__(self):
        return self.exercise


MUTANTS: list[Mutant] = []
RIVALS: list[Rival] = []


def mutant(exercise: str, mistake: str | None):
    def mark(answer):
        MUTANTS.append(Mutant(exercise, mistake, answer))
        return answer

    return mark


def rival(exercise: str):
    def mark(answer):
        RIVALS.append(Rival(exercise, answer))
        return answer

    return mark
