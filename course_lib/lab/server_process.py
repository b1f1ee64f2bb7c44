"""A server as a process of its own, on this machine alone: started, waited for, watched and ended."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
import psutil


class ServerFailed(RuntimeError):
    """The server ended before it was ready, or was not ready in time. Has the end of what it printed."""


class ServerProcess:
    """Runs a server within a `with` block.

        with ServerProcess(course_serve("--max-num-seqs", "16")) as server:
            httpx.get(server.url + "/health")

    Args:
        command: its program and arguments, in which `{port}` stands for a free port of the loopback interface.
        ready: a path that it answers with status 200 once it can serve.
        timeout: seconds to wait for that.
        environment: variables beside those of this process.

    Raises:
        ServerFailed: on entry.

    Attributes:
        url (str): "http://127.0.0.1:PORT", without a slash at the end.
        process (psutil.Process): for its memory, threads and open files.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        ready: str = "/health",
        timeout: float = 120,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._command = [part.replace("{port}", str(port)) for part in command]
        self._ready, self._timeout = ready, timeout
        self._environment = os.environ | (environment or {})

    def __enter__(self) -> "ServerProcess":
        self._log = tempfile.TemporaryFile("w+", errors="replace")
        self._popen = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT, env=self._environment
        )
        self.process = psutil.Process(self._popen.pid)
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception) -> None:
        self.stop()
        self._log.close()

    def _wait(self) -> None:
        end = time.monotonic() + self._timeout
        with httpx.Client(timeout=5) as client:
            while True:
                if self._popen.poll() is not None:
                    raise ServerFailed(f"{self._name} ended with status {self._popen.returncode}:\n{self.printed()}")
                try:
                    if client.get(self.url + self._ready).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                if time.monotonic() > end:
                    raise ServerFailed(f"{self._name} was not ready after {self._timeout:g} s:\n{self.printed()}")
                time.sleep(0.1)

    @property
    def _name(self) -> str:
        return Path(self._command[0]).name

    def printed(self, most: int = 3000) -> str:
        """The end of what it has printed, at most so many characters."""
        self._log.flush()
        self._log.seek(0)
        return self._log.read()[-most:]

    def stop(self, how: int = signal.SIGTERM, timeout: float = 30) -> int:
        """Ask it to end and wait for that; if it does not in time, kill it.

        Returns:
            Its exit status; -N where signal N ended it.
        """
        if self._popen.poll() is None:
            self._popen.send_signal(how)
            try:
                self._popen.wait(timeout)
            except subprocess.TimeoutExpired:
                self._popen.kill()
        return self._popen.wait()


def course_serve(*arguments: str) -> list[str]:
    """The command of this course's server: `course serve`, with a Python that has the course."""
    return [sys.executable, "-m", "course_lib.cli", "serve", "--port", "{port}", *arguments]
