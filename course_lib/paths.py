"""Where things lie: the checkout, the learner's store inside it, and the user's cache folder.

Nothing of the course is written anywhere else.
"""

import os
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
NOTEBOOKS = CHECKOUT / "notebooks"
EXTENSIONS = CHECKOUT / "extensions"


def cache_dir() -> Path:
    """The folder for what is large and can be fetched again: models, compiled kernels.

    `$COURSE_CACHE`, else `build-your-own-vllm` in the user's cache folder.
    """
    if override := os.environ.get("COURSE_CACHE"):
        return Path(override).expanduser().resolve()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "build-your-own-vllm"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "build-your-own-vllm"


def store_dir() -> Path:
    """The folder for what the learner did: progress, kept answers, backups.

    `$COURSE_STORE`, else `.course` in the checkout. Tests set the variable, so that they never
    touch a learner's store.
    """
    override = os.environ.get("COURSE_STORE")
    return Path(override).expanduser().resolve() if override else CHECKOUT / ".course"


def student_dir() -> Path:
    """The folder of the C++ files that learners write.

    `extensions/student`; but where `$COURSE_STORE` is set, `student` in that folder: whoever runs a
    notebook with a store of its own, as tests do, runs it with learners' files of its own.
    """
    override = os.environ.get("COURSE_STORE")
    return store_dir() / "student" if override else EXTENSIONS / "student"
