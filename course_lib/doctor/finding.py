"""What a check says, and how checks try things out."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ..paths import CHECKOUT


class Status(Enum):
    """How a check came out. Only BROKEN makes `course doctor` fail."""

    OK = "ok"
    WARNING = "warning"
    BROKEN = "broken"


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        subject: what was checked.
        status: how it came out.
        detail: what was found, and what was wanted where that differs.
        mend: the command that mends it; empty where nothing needs mending.
    """

    subject: str
    status: Status
    detail: str
    mend: str = ""

    def __str__(self) -> str:
        line = f"{self.status.value:8} {self.subject:12} {self.detail}"
        return f"{line}\n{'':22}mend: {self.mend}" if self.mend else line


def ok(subject: str, detail: str) -> Finding:
    """It works."""
    return Finding(subject, Status.OK, detail)


def warning(subject: str, detail: str, mend: str) -> Finding:
    """The course works, though not as well as it could."""
    return Finding(subject, Status.WARNING, detail, mend)


def broken(subject: str, detail: str, mend: str) -> Finding:
    """Something that the course needs does not work."""
    return Finding(subject, Status.BROKEN, detail, mend)


def run(command: list[str]) -> subprocess.CompletedProcess:
    """Run a command, in a child process, so that a crash of what is examined is not a crash of the doctor.

    Returns:
        Its exit code and output; exit code 1 where it could not be started or did not end in two minutes.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        return subprocess.run(
            command,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            timeout=120,
            cwd=CHECKOUT,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", "no answer within two minutes")
    except OSError as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))


def complaint(ran: subprocess.CompletedProcess) -> str:
    """The one line of a failed command's output that says why it failed."""
    if ran.returncode < 0:
        return f"killed by {signal.Signals(-ran.returncode).name}"
    lines = [line.strip() for line in ran.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    line = (errors or lines or [f"exit code {ran.returncode}"])[-1]
    return line if len(line) <= 300 else line[:300] + " ..."


def in_own_venv() -> bool:
    """Whether this Python is the one that `make setup` made, and not, say, a conda environment."""
    return Path(sys.prefix) == CHECKOUT / ".venv"


def reinstall() -> str:
    """The command that installs all packages anew."""
    if in_own_venv():
        # distclean forgets that CUDA=1 was chosen.
        cuda = " CUDA=1" if Path(sys.prefix, ".installed-cuda").exists() else ""
        return f"make distclean && make setup{cuda}"
    return f"{sys.executable} -m pip install --force-reinstall -e '{CHECKOUT}'"


def course(subcommand: str) -> str:
    """The command line of a `course` subcommand, as it can be typed here."""
    return f".venv/bin/course {subcommand}" if in_own_venv() else f"course {subcommand}"
