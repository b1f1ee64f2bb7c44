"""The table and the JSON of a grade."""

from dataclasses import asdict, dataclass
from typing import Any

from .judge_one import Outcome

MARKS = {"right": "✓", "wrong": "✗", "part-done": "◐", "untouched": "○", "missing": "○", "crashed": "!", "stopped": "!"}


@dataclass(frozen=True)
class Graded:
    """One exercise or rung. `notebook` is the stem, such as "01_kv_cache"."""

    notebook: str
    id: str
    title: str
    stretch: bool
    outcome: Outcome


@dataclass(frozen=True)
class Grade:
    """What came of a submission.

    Attributes:
        path: as it was given.
        rows: in the course's order.
    """

    path: str
    rows: tuple[Graded, ...]

    @property
    def required(self) -> list[Graded]:
        """All but the stretch exercises."""
        return [row for row in self.rows if not row.stretch]

    @property
    def num_right(self) -> int:
        return sum(row.outcome.state == "right" for row in self.required)

    @property
    def complete(self) -> bool:
        """Is everything right that is required?"""
        return self.num_right == len(self.required)


def table(grade: Grade, verbose: bool = False) -> str:
    """The grade as text, a line an exercise.

    Args:
        verbose: with the whole of the first failure and its hint.
    """
    lines, notebook = [], None
    width = max((len(row.id) for row in grade.rows), default=0)
    for row in grade.rows:
        if row.notebook != notebook:
            notebook = row.notebook
            mine = [r for r in grade.rows if r.notebook == notebook and not r.stretch]
            right = sum(r.outcome.state == "right" for r in mine)
            lines += ["", f"{notebook}: {right} of {len(mine)}"]
        outcome = row.outcome
        cases = f"{outcome.passed}/{outcome.total}"
        first = _printable(outcome.message).splitlines()[:1] if outcome.message else []
        words = f"{MARKS[outcome.state]} {outcome.state}"
        line = f"  {words:<12} {cases:>6}  {row.id:<{width}}{'  (stretch)' if row.stretch else ''}"
        if first and not verbose:
            line += f"  {first[0][:100]}"
        lines.append(line.rstrip())
        if verbose and outcome.message:
            lines += [f"      {text}" for text in _printable(outcome.message).splitlines()]
            lines += [f"      Hint: {outcome.hint}"] if outcome.hint else []
    stretch = [row for row in grade.rows if row.stretch]
    more = sum(row.outcome.state == "right" for row in stretch)
    lines += ["", f"{grade.num_right} of {len(grade.required)} right, and {more} of {len(stretch)} stretch exercises"]
    return "\n".join(lines).lstrip("\n")


def as_json(grade: Grade) -> dict[str, Any]:
    """The grade as plain data."""
    return {
        "path": grade.path,
        "right": grade.num_right,
        "required": len(grade.required),
        "complete": grade.complete,
        "exercises": [
            {"notebook": row.notebook, "id": row.id, "title": row.title, "stretch": row.stretch, **asdict(row.outcome)}
            for row in grade.rows
        ],
    }


def _printable(text: str) -> str:
    """Without control characters, which could rewrite the instructor's terminal."""
    return "".join(c if c == "\n" or c.isprintable() else "?" for c in text)
