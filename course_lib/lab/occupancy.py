"""Occupancy: how many threads can a GPU's core hold at a time, and what limits it?

While a thread waits for memory, its core runs others: the more it holds, the less it idles. Threadgroups come as a
whole, and each takes registers, threadgroup memory and places for its threads, as long as it runs.

Apple publishes two limits of one threadgroup (1,024 threads, 32 KiB of threadgroup memory) and none of a core. What
stands in M1 was found by measuring: the register file, at least, by Alyssa Rosenzweig (https://rosenzweig.io/blog/asahi-gpu-part-3.html),
the others in https://github.com/philipturner/metal-benchmarks. Take them as an example, not as a specification.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from .style import CYCLE, GREY, VERMILLION, new_figure

SIMD_WIDTH = 32
REGISTER_BYTES = 4
MOST_REGISTERS = 128  # of a thread


@dataclass(frozen=True)
class Core:
    """What a core has room for.

    Attributes:
        register_bytes: of its register file.
        threadgroup_bytes: of threadgroup memory, for all resident threadgroups together.
        threads: at most.
    """

    register_bytes: int
    threadgroup_bytes: int
    threads: int


M1 = Core(register_bytes=208 * 1024, threadgroup_bytes=60 * 1024, threads=3072)


def resident_threads(threads: int, registers: int, threadgroup_bytes: int, core: Core = M1) -> int:
    """How many threads of a kernel a core holds at a time.

    Args:
        threads: of a threadgroup.
        registers: of 32 bits, that a thread needs.
        threadgroup_bytes: of threadgroup memory that a threadgroup needs, may be 0.
        core: the core.

    Returns:
        A multiple of `threads`, since threadgroups come whole; 0 if not even one fits.
    """
    return threads * min(_threadgroups(threads, registers, threadgroup_bytes, core).values())


def limit_of(threads: int, registers: int, threadgroup_bytes: int, core: Core = M1) -> str:
    """What allows the fewest threadgroups: "registers", "threadgroup memory" or "threads"."""
    counts = _threadgroups(threads, registers, threadgroup_bytes, core)
    return min(counts, key=counts.get)


def _threadgroups(threads: int, registers: int, threadgroup_bytes: int, core: Core) -> dict[str, int]:
    """By each limit alone."""
    counts = {
        "threads": core.threads // threads,
        "registers": core.register_bytes // (REGISTER_BYTES * registers * threads),
    }
    if threadgroup_bytes:
        counts["threadgroup memory"] = core.threadgroup_bytes // threadgroup_bytes
    return counts


def occupancy_figure(threads: int, registers: int, threadgroup_bytes: int, core: Core = M1) -> Figure:
    """Resident threads against the registers of a thread, without threadgroup memory and with this much; the kernel as a dot."""
    figure, ax = new_figure(3.4, width=8)
    x = np.arange(8, MOST_REGISTERS + 1)
    for size, colour in ((0, GREY), (threadgroup_bytes, CYCLE[0])):
        y = [resident_threads(threads, int(r), size, core) for r in x]
        ax.plot(x, y, color=colour, drawstyle="steps-mid", zorder=2 if size else 1)
    ax.text(30, 0.94 * core.threads, "without threadgroup memory", color=GREY, fontsize=11)
    ax.plot([22, 29], [0.965 * core.threads] * 2, color=GREY)
    if threadgroup_bytes:
        ax.text(30, 0.82 * core.threads, f"with {threadgroup_bytes / 1024:g} KiB a threadgroup", color=CYCLE[0], fontsize=11)
        ax.plot([22, 29], [0.845 * core.threads] * 2, color=CYCLE[0])
    held = resident_threads(threads, registers, threadgroup_bytes, core)
    ax.plot([registers], [held], "o", ms=9, color=VERMILLION, zorder=3)
    ax.annotate(
        f"{held:,} threads, limited by {limit_of(threads, registers, threadgroup_bytes, core)}",
        (registers, held), xytext=(8, 10), textcoords="offset points", color=VERMILLION, fontsize=11,
    )  # fmt: skip
    ax.set_xlabel("registers of a thread (32 bits each)")
    ax.set_ylabel("resident threads")
    ax.set_ylim(0, 1.18 * core.threads)
    ax.set_xlim(0, MOST_REGISTERS)
    ax.grid(axis="y")
    ax.set_title(f"Threadgroups of {threads} threads on one core")
    return figure
