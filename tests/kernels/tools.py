"""Tools that a machine may lack, and what to do then."""

import os
import shutil

import pytest


def without(reason: str) -> None:
    """Skip the test, saying what is missing. In CI, where nothing may be missing, fail it."""
    if os.environ.get("COURSE_CI"):
        pytest.fail(f"{reason} (COURSE_CI is set, so this is no reason to skip)")
    pytest.skip(reason)


def tool(name: str, package: str) -> str:
    """The path of a program; skips the test where it is not installed."""
    return shutil.which(name) or without(f"{name} is not here; on Debian: apt-get install {package}")


def minutes_long() -> None:
    """Skip a test that compiles for minutes, unless it is asked for: COURSE_SLOW=1, or in CI."""
    if not (os.environ.get("COURSE_SLOW") or os.environ.get("COURSE_CI")):
        pytest.skip("compiles for a minute; COURSE_SLOW=1 runs it")
