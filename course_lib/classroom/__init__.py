"""The learner's loop: an answer cell, a check cell, a panel that says what to do next.

    from course_lib.classroom import check, kept, show_progress

`check` judges an answer and returns what the rest of the notebook uses; `kept` gives the learner's
own right answers back to later notebooks; `show_progress` closes a notebook.
"""

from .check import check
from .kept import kept
from .table import show_progress
from .verdict import CheckFailed

__all__ = ["CheckFailed", "check", "kept", "show_progress"]
