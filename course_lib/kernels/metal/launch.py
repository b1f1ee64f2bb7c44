"""Run a kernel's program in a child process: the buffers go in a file, and the outputs come back in it.

A process of its own, so that a wild pointer or an endless loop ends that process and not the notebook's.
"""

import json
import os
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from course_lib.kernels.metal.errors import MetalError

# As in extensions/emulator/runtime/request.h.
_HEADER = struct.Struct("<8s3I3IIIQdII")
_RECORD = struct.Struct("<QQIII68s")
_ROLES = {"input": 0, "output": 1, "constant": 2}
ORDERS = {"forward": 0, "reverse": 1, "shuffle": 2}
_ALIGNMENT = 64
_GRACE = 10  # seconds that the child gets to report that its time is over
MOST_THREADS = 1024


@dataclass(frozen=True)
class Buffer:
    """Memory that a kernel is handed.

    Attributes:
        name: of the parameter.
        role: "input", "output" or "constant".
        nbytes: its size.
        element_bytes: the size of what it holds.
        data: its bytes; None for an output that begins unwritten.
    """

    name: str
    role: str
    nbytes: int
    element_bytes: int
    data: bytes | np.ndarray | None


@dataclass(frozen=True)
class Schedule:
    """How a launch is run.

    Attributes:
        grid: threads, (x, y, z); threadgroup likewise.
        order: of the threads: "forward", "reverse" or "shuffle".
        seed: of the shuffle.
        time_limit: seconds.
        touches: how many accesses to record one by one.
    """

    grid: tuple[int, int, int]
    threadgroup: tuple[int, int, int]
    order: str = "forward"
    seed: int = 0
    time_limit: float = 60.0
    touches: int = 0


def launch(program: Path, buffers: Sequence[Buffer], schedule: Schedule) -> tuple[list[bytes], dict]:
    """Run a program.

    Returns:
        The outputs' bytes, in order, and the report as extensions/emulator/runtime/report.cpp writes it.

    Raises:
        MetalError: the child died without a report.
    """
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # a folder in memory, where there is one
    with tempfile.TemporaryDirectory(dir=memory, prefix="metal-") as folder:
        request, report = Path(folder, "request"), Path(folder, "report")
        offsets = _write(request, buffers, schedule)
        try:
            ran = subprocess.run(
                [program, request, report], capture_output=True, text=True, check=False,
                timeout=schedule.time_limit + _GRACE,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise MetalError(f"the kernel still ran after {schedule.time_limit:g} s and was ended") from None
        if ran.returncode or not report.exists():
            raise MetalError(f"the kernel's process ended with status {ran.returncode}: {ran.stderr.strip()}")
        outputs = []
        with open(request, "rb") as file:
            for buffer, offset in zip(buffers, offsets, strict=True):
                if buffer.role == "output":
                    file.seek(offset)
                    outputs.append(file.read(buffer.nbytes))
        return outputs, json.loads(report.read_bytes())


def _write(path: Path, buffers: Sequence[Buffer], schedule: Schedule) -> list[int]:
    """Write the request; returns the buffers' offsets."""
    end = _HEADER.size + len(buffers) * _RECORD.size
    offsets, records = [], []
    for buffer in buffers:
        end = -(-end // _ALIGNMENT) * _ALIGNMENT
        offsets.append(end)
        name = buffer.name.encode()[:67]
        initialised = buffer.data is not None
        records.append(
            _RECORD.pack(end, buffer.nbytes, buffer.element_bytes, _ROLES[buffer.role], initialised, name)
        )
        end += buffer.nbytes
    header = _HEADER.pack(
        b"metal-1\0", *schedule.grid, *schedule.threadgroup, ORDERS[schedule.order], schedule.touches,
        schedule.seed, schedule.time_limit, len(buffers), MOST_THREADS,
    )  # fmt: skip
    with open(path, "wb") as file:
        file.write(header)
        file.writelines(records)
        for buffer, offset in zip(buffers, offsets, strict=True):
            if buffer.data is not None:
                file.seek(offset)
                file.write(buffer.data)
        file.truncate(max(end, 1))
    return offsets
