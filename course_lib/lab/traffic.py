"""What a Metal kernel moved, drawn: a bar a buffer, and who touches what.

Both take the `traffic` of a checked run (course_lib.kernels.metal). The counts are of the kernel's text, so these
pictures are the same on every machine.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .plots import bars
from .style import BLUE, ORANGE, VERMILLION, axes_or_new

LINE_BYTES = 128  # of a GPU's cache
MOST_ROWS = 256  # of threads in a picture: with more, a row is thinner than what can be seen


def traffic_bars(
    traffic, *, spaces: Sequence[str] = ("device",), title: str | None = None, ax: Axes | None = None
) -> Figure:
    """One bar a buffer, or two: the bytes that all threads together read from it, and that they wrote to it.

    Args:
        traffic: of a checked run.
        spaces: which memory to show, of "device", "constant" and "threadgroup".
        title: what to see.
        ax: axes to draw into; None makes a figure.

    Raises:
        ValueError: the kernel moved nothing in these.
    """
    moved = {}
    for name, buffer in traffic.buffers.items():
        for way, count in (("read", buffer.bytes_read), ("written", buffer.bytes_written)):
            if buffer.space in spaces and count:
                moved[f"{name}, {way}"] = count
    if not moved:
        raise ValueError(f"The kernel moved nothing in {' and '.join(spaces)} memory: there is nothing to show.")
    return bars(moved, quantity="bytes moved", unit="bytes", title=title, ax=ax)


def cache_lines(offsets: Sequence[int], nbytes: int) -> int:
    """How many cache lines one access of a SIMD-group touches.

    Args:
        offsets: where each lane reads or writes, in bytes from the buffer's begin, which lies at a line's.
        nbytes: that each lane reads or writes there.
    """
    lines = set()
    for offset in offsets:
        lines.update(range(offset // LINE_BYTES, (offset + nbytes - 1) // LINE_BYTES + 1))
    return len(lines)


def touch_picture(
    traffic, buffer: str, *, element_bytes: int = 4, line: int | None = None, moment: int | None = None,
    title: str | None = None, ax: Axes | None = None,
) -> Figure:  # fmt: skip
    """Which thread touches which element of a buffer: a row a thread, a column an element.

    Lanes whose marks stand side by side are served together: the vertical lines are the borders of cache lines of
    128 bytes, and what one SIMD-group touches in one of them costs one.

    Args:
        traffic: of an inspection with `touches=`.
        buffer: its name.
        element_bytes: of what it holds.
        line: only the touches of this line of the source.
        moment: shows each thread's touch of this number, from 0, in another colour: what lanes do in step.
        title: what to see.
        ax: axes to draw into; None makes a figure.

    Raises:
        ValueError: no touch of this buffer was recorded, or there are more threads than can be seen.
    """
    touches = [t for t in traffic.touches if t.buffer == buffer and line in (None, t.line)]
    if not touches:
        known = ", ".join(dict.fromkeys(t.buffer for t in traffic.touches)) or "none: inspect with touches=10_000"
        raise ValueError(f"No touch of {buffer!r} was recorded; there are those of: {known}.")
    width = 1 + max(t.thread for t in traffic.touches)
    rows = np.array([t.threadgroup * width + t.thread for t in touches])
    count = int(rows.max()) + 1
    if count > MOST_ROWS:
        raise ValueError(f"The launch has {count} threads, and a picture shows {MOST_ROWS}: draw a smaller launch.")
    ax = axes_or_new(ax, min(6.5, 1.6 + 0.07 * count))
    last = max(t.offset + t.nbytes for t in touches) / element_bytes
    for write, colour, name in ((False, BLUE, "read"), (True, VERMILLION, "written")):
        chosen = [(row, t) for row, t in zip(rows, touches, strict=True) if t.write == write]
        if chosen:
            starts = [t.offset / element_bytes for _, t in chosen]
            widths = [t.nbytes / element_bytes for _, t in chosen]
            ax.barh([row for row, _ in chosen], widths, left=starts, height=0.9, color=colour, linewidth=0, label=name)
    if moment is not None:
        times = Counter()
        for row, t in zip(rows, touches, strict=True):
            if times[row] == moment:
                ax.barh(row, t.nbytes / element_bytes, left=t.offset / element_bytes, height=0.9, color=ORANGE, linewidth=0)
            times[row] += 1
    for border in np.arange(0, last + LINE_BYTES / element_bytes, LINE_BYTES / element_bytes):
        ax.axvline(border, color="#999999", lw=0.8, zorder=0)
    ax.set_xlim(0, max(last, LINE_BYTES / element_bytes))
    ax.set_ylim(count - 0.5, -0.5)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel(f"element of {buffer}")
    ax.set_ylabel("thread")
    if len({t.write for t in touches}) > 1:
        ax.legend(loc="upper right")
    if title:
        ax.set_title(title)
    return ax.figure
