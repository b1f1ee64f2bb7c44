"""How fast can this machine read memory? The limit that a token's weights run into.

Measured, not looked up: the largest element of an array far larger than any cache is found, by one
thread, then two, up to one a core. Taking a maximum costs next to nothing beside fetching the number.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import mlx.core as mx
import numpy as np

from .machine import cores

ARRAY_BYTES = 256 * 2**20
ROUNDS = 5


@dataclass(frozen=True)
class Bandwidth:
    """Measured read bandwidth, in GB/s (10^9 bytes a second).

    Attributes:
        by_threads: number of threads -> GB/s on the CPU; the median of several passes.
        gpu: GB/s of the GPU that MLX uses, or None without one.
    """

    by_threads: dict[int, float]
    gpu: float | None

    @property
    def cpu(self) -> float:
        """GB/s with the best number of threads."""
        return max(self.by_threads.values())

    @property
    def device(self) -> float:
        """GB/s of the device that MLX computes on by default."""
        return self.cpu if self.gpu is None else self.gpu

    def __repr__(self) -> str:
        parts = [f"{gbs:.1f} GB/s with {n} thread{'s' * (n > 1)}" for n, gbs in self.by_threads.items()]
        if self.gpu is not None:
            parts.append(f"{self.gpu:.1f} GB/s on the GPU")
        return "reads " + ", ".join(parts)


@cache
def read_bandwidth() -> Bandwidth:
    """Measure once a process; takes a second or so."""
    array = np.ones(ARRAY_BYTES // 4, np.float32)
    by_threads = {n: _cpu(array, n) for n in _thread_counts(cores())}
    gpu = _gpu(mx.array(array)) if mx.default_device() == mx.Device(mx.gpu) else None
    return Bandwidth(by_threads, gpu)


def _thread_counts(most: int) -> list[int]:
    counts = [1]
    while counts[-1] * 2 < most:
        counts.append(counts[-1] * 2)
    return counts if most == 1 else [*counts, most]


def _cpu(array: np.ndarray, threads: int) -> float:
    parts = np.array_split(array, threads)
    # NumPy lets go of the interpreter lock in a reduction, so Python threads do run side by side.
    with ThreadPoolExecutor(threads) as pool:
        return _median_rate(lambda: list(pool.map(np.max, parts)))


def _gpu(array: mx.array) -> float:
    return _median_rate(lambda: mx.eval(mx.max(array)))


def _median_rate(read_all) -> float:
    read_all()
    seconds = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        read_all()
        seconds.append(time.perf_counter() - begin)
    return ARRAY_BYTES / float(np.median(seconds)) / 1e9
