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
