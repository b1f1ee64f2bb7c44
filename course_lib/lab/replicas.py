"""Run a script as several processes that talk to each other: `mlx.launch`, from a notebook.

Each process is a **rank** of one group (`mx.distributed.init`). Here they share this machine; with a file of
hosts the same script runs on several: https://ml-explore.github.io/mlx/build/html/usage/distributed.html
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path


class ReplicasFailed(RuntimeError):
    """A process ended with an error, or they were not done in time. Has what they printed."""


def run_replicas(script: str, processes: int = 2, timeout: float = 120) -> str:
    """Run a script in some processes on this machine, joined by MLX's ring of sockets.

    Args:
        script: Python. All ranks run it.
        timeout: seconds; then all are ended.

    Returns:
        What they printed, in the order in which it came.

    Raises:
        ReplicasFailed: see there.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "replica.py"
        path.write_text(script, encoding="utf-8")
        command = [
            sys.executable, "-c", "from mlx._distributed_utils.launch import main; main()", "-n", str(processes),
            "--backend", "ring", "--starting-port", str(_free_ports(processes)), "--python", sys.executable, str(path),
        ]  # fmt: skip
        launched = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        try:
            printed, _ = launched.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(launched.pid, signal.SIGTERM)
            try:
                printed, _ = launched.communicate(timeout=5)
            except subprocess.TimeoutExpired:
                os.killpg(launched.pid, signal.SIGKILL)
                printed, _ = launched.communicate()
            raise ReplicasFailed(f"not done after {timeout:g} s:\n{printed}") from None
    if launched.returncode or "exited with code" in printed:
        raise ReplicasFailed(printed)
    return printed


def _free_ports(count: int) -> int:
    """The first of so many neighbouring ports that nobody on this machine listens on."""
    for _ in range(100):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            first = probe.getsockname()[1]
        held = []
        try:
            for port in range(first, first + count):
                held.append(socket.socket())
                held[-1].bind(("127.0.0.1", port))
            return first
        except (OSError, OverflowError):
            continue
        finally:
            for each in held:
                each.close()
    raise ReplicasFailed(f"no {count} neighbouring ports are free")
