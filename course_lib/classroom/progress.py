"""What the learner has done, in the store: one small file an exercise.

One file each, written whole and then renamed, so that two notebooks open at once lose nothing.
"""

import json
import os
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from ..paths import store_dir
from .verdict import State, Verdict


@dataclass(frozen=True)
class Record:
    """How an exercise stood at its last check.

    Attributes:
        checks: how often it was checked.
        first_right: time of the first right answer (ISO 8601, UTC), or None.
    """

    state: State = State.NEW
    passed: int = 0
    total: int = 0
    checks: int = 0
    first_right: str | None = None


def record(verdict: Verdict) -> None:
    """Store a verdict's state."""
    before = read(verdict.exercise.id)
    first_right = before.first_right
    if verdict.state is State.RIGHT and first_right is None:
        first_right = datetime.now(timezone.utc).isoformat(timespec="seconds")
    after = Record(verdict.state, verdict.passed, verdict.total, before.checks + 1, first_right)
    path = _path(verdict.exercise.id)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(asdict(after), indent=1), encoding="utf-8")
    os.replace(temporary, path)


def read(exercise_id: str) -> Record:
    """How an exercise stands. A record that cannot be read counts as never checked."""
    try:
        fields = json.loads(_path(exercise_id).read_text(encoding="utf-8"))
        return Record(**{**fields, "state": State(fields["state"])})
    except FileNotFoundError:
        return Record()
    except (ValueError, KeyError, TypeError):
        return Record()


def _path(exercise_id: str) -> Path:
    return store_dir() / "progress" / f"{exercise_id}.json"
