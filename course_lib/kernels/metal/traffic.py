"""What a checked run moved: bytes by buffer and by line, barriers, and how well a SIMD-group's accesses fall together.

The counts are of what the source says, access by access. They are the same on every machine; a GPU's compiler may
merge some of them, and its caches serve some.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from course_lib.kernels.metal.diagnostics import location

LINE_BYTES = 128  # of a GPU's cache, as the emulator counts


@dataclass
class Moved:
    """Bytes and accesses.

    Attributes:
        bytes_read: by all threads together, every access counted; bytes_written likewise.
        simd_accesses: loads and stores of SIMD-groups to device memory: the lanes' accesses at one place of the
            source count as one.
        cache_lines: of 128 bytes, that those touched.
        least_cache_lines: that could have held what they asked for.
    """

    bytes_read: int = 0
    bytes_written: int = 0
    simd_accesses: int = 0
    cache_lines: int = 0
    least_cache_lines: int = 0

    @property
    def bytes(self) -> int:
        return self.bytes_read + self.bytes_written

    @property
    def coalescing(self) -> float | None:
        """least_cache_lines / cache_lines: 1 if each SIMD-group's lanes read neighbours, 1/32 if each reads a line of
        its own; None for memory that is not served in cache lines."""
        return self.least_cache_lines / self.cache_lines if self.cache_lines else None

    def add(self, tally: list[int]) -> None:
        self.bytes_read += tally[0]
        self.bytes_written += tally[1]
        self.simd_accesses += tally[2]
        self.cache_lines += tally[3]
        self.least_cache_lines += tally[4]


@dataclass
class BufferTraffic(Moved):
    """One buffer or threadgroup variable.

    Attributes:
        space: "device", "constant" or "threadgroup".
        nbytes: its size.
        distinct_bytes_read: bytes of it that were read at all; distinct_bytes_written likewise.
    """

    space: str = "device"
    nbytes: int = 0
    distinct_bytes_read: int = 0
    distinct_bytes_written: int = 0


@dataclass(frozen=True)
class Touch:
    """One access of one thread: its threadgroup's number and its own, the buffer, the byte offset and size, whether it
    wrote, and the source's line."""

    threadgroup: int
    thread: int
    buffer: str
    offset: int
    nbytes: int
    write: bool
    line: int | None


@dataclass
class Traffic:
    """What one launch moved.

    Attributes:
        buffers: name -> BufferTraffic, in the order of the parameters; threadgroup variables after them.
        lines: (file, line) -> {buffer: Moved}.
        threadgroup_barriers: passed, counted once a threadgroup; simdgroup_barriers once a SIMD-group.
        simd_operations: reductions, shuffles and votes, counted once a SIMD-group.
        matrix_operations: products of 8 x 8 matrices, likewise.
        touches: accesses one by one, as many as were asked for; `touches_complete` if those are all.
    """

    buffers: dict[str, BufferTraffic] = field(default_factory=dict)
    lines: dict[tuple[str, int], dict[str, Moved]] = field(default_factory=dict)
    threadgroup_barriers: int = 0
    simdgroup_barriers: int = 0
    simd_operations: int = 0
    matrix_operations: int = 0
    touches: list[Touch] = field(default_factory=list)
    touches_complete: bool = True

    @property
    def device_bytes(self) -> int:
        """Bytes read from and written to buffers."""
        return sum(b.bytes for b in self.buffers.values() if b.space == "device")

    @property
    def threadgroup_bytes(self) -> int:
        """Bytes read from and written to threadgroup memory."""
        return sum(b.bytes for b in self.buffers.values() if b.space == "threadgroup")

    @property
    def coalescing(self) -> float | None:
        """As Moved.coalescing, over all buffers."""
        whole = sum(b.cache_lines for b in self.buffers.values())
        return sum(b.least_cache_lines for b in self.buffers.values()) / whole if whole else None

    def __str__(self) -> str:
        rows = [("", "bytes read", "bytes written", "coalescing")]
        for name, b in self.buffers.items():
            if b.bytes:
                coalescing = "" if b.coalescing is None else f"{100 * b.coalescing:.0f} %"
                rows.append((f"{name} ({b.space})", f"{b.bytes_read:,}", f"{b.bytes_written:,}", coalescing))
        for (file, line), buffers in sorted(self.lines.items()):
            for name, moved in buffers.items():
                coalescing = "" if moved.coalescing is None else f"{100 * moved.coalescing:.0f} %"
                counts = (f"{moved.bytes_read:,}", f"{moved.bytes_written:,}", coalescing)
                rows.append((f"  {location(file, line)} {name}", *counts))
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        text = [row[0].ljust(widths[0]) + "".join(f"  {c.rjust(w)}" for c, w in zip(row[1:], widths[1:], strict=True))
                for row in rows]  # fmt: skip
        text.append(
            f"{self.threadgroup_barriers:,} threadgroup barriers, {self.simdgroup_barriers:,} SIMD-group barriers, "
            f"{self.simd_operations:,} SIMD-group operations, {self.matrix_operations:,} matrix products"
        )
        return "\n".join(line.rstrip() for line in text)


def read_traffic(report: dict, lines: dict[int, tuple[str, int]]) -> Traffic:
    """The traffic in an emulator's report; `lines` are those of its addresses."""
    regions = report["regions"]
    traffic = Traffic(
        threadgroup_barriers=report["threadgroup_barriers"], simdgroup_barriers=report["simdgroup_barriers"],
        simd_operations=report["simd_operations"], matrix_operations=report["matrix_operations"],
        touches_complete=report["touches_complete"],
    )  # fmt: skip
    for region in regions:
        buffer = BufferTraffic(
            space=region["space"], nbytes=region["bytes"], distinct_bytes_read=region["touched"][0],
            distinct_bytes_written=region["touched"][1],
        )  # fmt: skip
        buffer.add(region["tally"])
        name = region["name"]
        while name in traffic.buffers:  # two variables of one name, in different blocks
            name += "'"
        traffic.buffers[name] = buffer
    names = list(traffic.buffers)
    by_line = defaultdict(lambda: defaultdict(Moved))
    for site in report["sites"]:
        if place := lines.get(site["pc"]):
            for number, tally in enumerate(site["regions"]):
                if any(tally):
                    by_line[place][names[number]].add(tally)
    for place, moved in sorted(by_line.items()):
        traffic.lines[place] = {name: moved[name] for name in names if name in moved}
    for group, thread, region, offset, nbytes, write, site in report["touches"]:
        place = lines.get(report["sites"][site]["pc"])
        traffic.touches.append(Touch(group, thread, names[region], offset, nbytes, bool(write), place and place[1]))
    return traffic
