"""Run a check program in a child process, with a limit on its time and on what it writes."""

import os
import signal
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .sanitizers import ENVIRONMENT

LAST_WORDS = 5.0  # seconds for a program that was stopped to say where it was
MOST_OUTPUT = 8 * 2**20  # bytes


@dataclass(frozen=True)
class Ran:
    """What a program left behind.

    Attributes:
        lines: of its output, split at tabs.
        errors: what it and its sanitizer wrote to stderr.
        status: its exit status, negative for a signal.
        stopped: did it run into the time limit?
    """

    lines: list[list[str]]
    errors: str
    status: int
    stopped: bool


def run(command: list, seconds: float) -> Ran:
    """Run a program that may do anything: crash, hang, print for ever."""
    environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"} | ENVIRONMENT
    # The shell's limits, and then the program in its place: no core files, no output without end.
    limits = f'ulimit -c 0; ulimit -f {MOST_OUTPUT // 512}; exec "$@"'
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = subprocess.Popen(
            ["/bin/sh", "-c", limits, "sh", *map(str, command)], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            env=environment, start_new_session=True,
        )  # fmt: skip
        stopped = False
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            stopped = True
            child.send_signal(signal.SIGABRT)
            with suppress(subprocess.TimeoutExpired):
                child.wait(LAST_WORDS)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        lines = [line.split("\t") for line in _text(out).splitlines()]
        return Ran(lines, _text(err), child.returncode, stopped)


def _text(file) -> str:
    file.seek(0)
    return file.read(MOST_OUTPUT).decode(errors="replace")
