"""The progress table: at each notebook's end, and for `course progress`."""

import html

from .exercise import Exercise, exercises_of, notebooks
from .kept import is_kept
from .native.check import answer_file
from .native.ladder import Rung, rungs_of
from .progress import read
from .verdict import State

WORDS = {
    State.NEW: "○ not checked",
    State.UNTOUCHED: "○ not started",
    State.PART_DONE: "◐ part-done",
    State.WRONG: "✗ not right yet",
    State.RIGHT: "✓ right",
}


def show_progress(notebook: str) -> None:
    """Show how the exercises of one notebook stand, for example `show_progress("kv_cache")`.

    Raises:
        ValueError: the course has no such notebook with exercises.
    """
    from IPython import get_ipython
    from IPython.display import display

    if notebook not in notebooks():
        raise ValueError(f"No notebook {notebook!r} has exercises. There are: {', '.join(notebooks())}.")
    rows = [_row(e) for e in _all_of(notebook)]
    plain = _text(rows)
    if get_ipython() is None:
        print(plain)
    else:
        display({"text/plain": plain, "text/html": _html(rows)}, raw=True)


def progress_text() -> str:
    """All notebooks, as plain text."""
    blocks = []
    for notebook in notebooks():
        exercises = _all_of(notebook)
        right = sum(read(e.id).state is State.RIGHT for e in exercises)
        blocks.append(f"{notebook}  ({right} of {len(exercises)} right)\n" + _text([_row(e) for e in exercises]))
    return "\n\n".join(blocks) if blocks else "No notebook has exercises yet."


def _all_of(notebook: str) -> list[Exercise | Rung]:
    """Exercises, then rungs of native ladders, then what is optional."""
    found = [*exercises_of(notebook), *rungs_of(notebook)]
    return sorted(found, key=lambda e: e.stretch)


def _row(exercise: Exercise | Rung) -> tuple[str, str, str, str]:
    entry = read(exercise.id)
    cases = f"{entry.passed}/{entry.total}" if entry.total and entry.state is not State.UNTOUCHED else ""
    title = exercise.title + (" (stretch)" if exercise.stretch else "")
    runs_on = "yours" if _kept(exercise) else "the reference"
    return WORDS[entry.state], title, cases, runs_on


def _kept(exercise: Exercise | Rung) -> bool:
    return answer_file(exercise).exists() if isinstance(exercise, Rung) else is_kept(exercise.id)


HEADINGS = ("state", "exercise", "cases", "the course runs on")


def _text(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(r[i]) for r in [HEADINGS, *rows]) for i in range(len(HEADINGS))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(r, widths)).rstrip() for r in [HEADINGS, *rows])


def _html(rows: list[tuple[str, ...]]) -> str:
    cell = 'style="text-align:left;padding:.2em 1em .2em 0"'
    head = "".join(f"<th {cell}>{h}</th>" for h in HEADINGS)
    body = "".join(
        "<tr>" + "".join(f"<td {cell}>{html.escape(c)}</td>" for c in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
