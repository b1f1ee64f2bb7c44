"""`course grade`: an instructor's table of a learner's notebooks and kernels.

`submission` finds what was handed in, and copies it; `judge_one` judges one exercise or rung, in a process of its
own; `grader` starts these processes, one an exercise, with limits; `report` makes the table and the JSON.

An answer is judged as `check` judges one that is kept: its cell alone, with the names that the notebook provides.
So no notebook is run, and what else it holds (or breaks) does not count.

What a learner's code may do is bounded in time, memory and output, and it works on copies; it is not locked
up. It runs as you: grade what strangers hand in inside a container or a virtual machine. And a pass is a
pass of the checks, not a proof against somebody who writes code to deceive them: read what counts.
"""

from .grader import grade
from .report import Grade, as_json, table

__all__ = ["Grade", "as_json", "grade", "table"]
