"""What every pytest run of this repository shares: the unit tests, and nbval over the notebooks."""

import os
from collections import defaultdict

from course_lib.jupyter import keep_inside

_seconds = defaultdict(float)


def pytest_configure(config):
    keep_inside()
    # A bar that moves would be stored in, or compared with, a notebook's outputs.
    os.environ["COURSE_PROGRESS"] = "off"


def pytest_runtest_logreport(report):
    path = report.nodeid.split("::")[0]
    if path.endswith(".ipynb"):
        _seconds[path] += report.duration


def pytest_terminal_summary(terminalreporter):
    if _seconds:
        terminalreporter.section("seconds a notebook")
        for path, seconds in sorted(_seconds.items()):
            terminalreporter.write_line(f"{seconds:6.1f} s  {path}")
