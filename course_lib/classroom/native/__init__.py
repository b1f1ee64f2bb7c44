"""The loop of native exercises: the learner writes C++ or Metal in `extensions/student`, a check cell does the rest.

    from course_lib.classroom.native import check_kernel, kept_kernel

`check_kernel` compiles one rung of a ladder, runs it in a child process under sanitizers, shows the panel and
what the rungs take, and returns a kernel that takes MLX arrays. Nothing that the learner's code does reaches the
notebook's process before it is right. C++ is judged in judge.py, Metal in judge_metal.py.
"""

from .check import check_kernel, kept_kernel

__all__ = ["check_kernel", "kept_kernel"]
