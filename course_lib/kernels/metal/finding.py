"""What the sanitizer found, in words."""

from dataclasses import dataclass, field

from course_lib.kernels.metal.diagnostics import excerpt, location

KINDS = {
    "race": "data race",
    "out_of_bounds": "out of bounds",
    "uninitialised": "uninitialised memory",
    "barrier_divergence": "barrier not reached by all threads",
    "simd_divergence": "divergent SIMD-group operation",
    "simd_inactive": "value of an inactive lane",
    "undefined": "undefined behaviour",
    "threadgroup_memory": "too much threadgroup memory",
    "too_many_threads": "too many threads in a threadgroup",
    "crash": "crash",
    "stack_overflow": "too much private memory",
    "time_limit": "time limit",
}


@dataclass(frozen=True)
class Finding:
    """Something wrong with a kernel.

    Attributes:
        kind: a key of KINDS.
        message: what happened and what to do, in a sentence or two.
        file: where; None if that is not known. `line` likewise.
        other_file: of a race, where the earlier access was; `other_line` likewise.
        buffer: the name of the buffer or threadgroup variable that it is about, or None.
        index: of the element in it, or None.
        threadgroup: (x, y, z); thread likewise, in its threadgroup.
        times: how often it happened at this place.
        shown: the source's lines that it names, as text.
    """

    kind: str
    message: str
    file: str | None = None
    line: int | None = None
    other_file: str | None = None
    other_line: int | None = None
    buffer: str | None = None
    index: int | None = None
    threadgroup: tuple[int, int, int] | None = None
    thread: tuple[int, int, int] | None = None
    times: int = 1
    shown: str = field(default="", compare=False)

    def __str__(self) -> str:
        where = f"{location(self.file, self.line)}: " if self.file else ""
        often = f" ({self.times:,} times)" if self.times > 1 else ""
        text = f"{where}{KINDS[self.kind]}{often}\n  {self.message}"
        return f"{text}\n{self.shown}" if self.shown else text


class Teller:
    """Makes Findings of what the emulator reports.

    Args:
        report: as the emulator wrote it.
        lines: address -> (file, line).
        texts: file -> its text.
        grid: threads; threadgroup likewise.
        time_limit: seconds.
    """

    def __init__(self, report, lines, texts, grid, threadgroup, time_limit):
        self._regions = report["regions"]
        self._lines = lines
        self._texts = texts
        self._grid = grid
        self._size = tuple(min(t, g) for t, g in zip(threadgroup, grid, strict=True))
        self._seconds = time_limit

    def tell(self, raw: dict) -> Finding:
        place, other_place = self._place(raw["place"]), self._place(raw["other_place"])
        if raw["kind"] in ("crash", "stack_overflow", "time_limit"):
            # The second is the last checked access, for when the first is not in the kernel's own code.
            place, other_place = place or other_place, None
        region = self._regions[raw["region"]] if raw["region"] >= 0 else None
        message = getattr(self, f"_{raw['kind']}")(raw, region)
        file, line = place or (None, None)
        other_file, other_line = other_place or (None, None)
        shown = [excerpt(self._texts, *p) for p in dict.fromkeys([other_place, place]) if p]
        return Finding(
            raw["kind"], message, file, line, other_file, other_line, region and region["name"],
            raw["offset"] // region["element_bytes"] if region else None,
            self._group(raw["threadgroup"]), self._thread(raw["threadgroup"], raw["thread"]), raw["times"],
            "\n".join(filter(None, shown)),
        )  # fmt: skip

    # --- who and where ---

    def _place(self, raw) -> tuple[str, int] | None:
        if raw is None:
            return None
        if "pc" in raw:
            return self._lines.get(raw["pc"])
        return raw["file"], raw["line"]

    def _group(self, number: int) -> tuple[int, int, int]:
        counts = [-(-g // s) for g, s in zip(self._grid, self._size, strict=True)]
        return number % counts[0], number // counts[0] % counts[1], number // counts[0] // counts[1]

    def _thread(self, group: int, number: int) -> tuple[int, int, int]:
        # The last threadgroup of a row may be smaller.
        position = self._group(group)
        size = [min(s, g - p * s) for s, g, p in zip(self._size, self._grid, position, strict=True)]
        return number % size[0], number // size[0] % size[1], number // size[0] // size[1]

    def _who(self, group: int, thread: int) -> str:
        return f"thread {_plain(self._thread(group, thread))} of threadgroup {_plain(self._group(group))}"

    def _me(self, raw) -> str:
        return self._who(raw["threadgroup"], raw["thread"])

    def _element(self, raw, region) -> str:
        return f"{region['name']}[{raw['offset'] // region['element_bytes']}]"

    # --- what ---

    def _race(self, raw, region) -> str:
        element = self._element(raw, region)
        before = self._who(raw["other_threadgroup"], raw["other_thread"])
        did, does = ("wrote" if raw["other_write"] else "read"), ("writes" if raw["write"] else "reads")
        here = _at(self._place(raw["other_place"]))
        what = f"{self._me(raw)} {does} {element}, which {before} {did}{here}, and nothing orders the two. "
        flag = f"mem_flags::mem_{'threadgroup' if region['space'] == 'threadgroup' else 'device'}"
        return what + {
            "grid": "No barrier orders two threadgroups: give each its own elements, use an atomic, or launch twice.",
            "threadgroup": f"Put threadgroup_barrier({flag}) between them.",
            "flags": f"A barrier is between them, but its mem_flags do not name this memory: it must be {flag}.",
            "simdgroup": f"They are lanes of one SIMD-group: put simdgroup_barrier({flag}) between them "
                         "(or a threadgroup_barrier).",
            "simdgroup_flags": "A simdgroup_barrier is between them, but its mem_flags do not name this memory: "
                               f"it must be {flag}.",
        }[raw["detail"]]  # fmt: skip

    def _out_of_bounds(self, raw, region) -> str:
        count = region["bytes"] // region["element_bytes"]
        does = "writes" if raw["write"] else "reads"
        element = self._element(raw, region)
        wide = f" ({raw['bytes']} bytes at once)" if raw["bytes"] != region["element_bytes"] else ""
        last = f"its last element is [{count - 1}]" if count else "it has no elements"
        return f"{self._me(raw)} {does} {element}{wide}, but {region['name']} has {count:,} elements: {last}."

    def _uninitialised(self, raw, region) -> str:
        element = self._element(raw, region)
        if region["space"] == "threadgroup":
            why = "Threadgroup memory holds anything when a threadgroup begins: write it first, in every threadgroup."
        else:
            why = "An output holds anything when a kernel begins, unless the call gives an init_value."
        return f"{self._me(raw)} reads {element}, which nothing has written. {why}"

    def _barrier_divergence(self, raw, region) -> str:
        other = self._who(raw["threadgroup"], raw["other_thread"])
        there = self._place(raw["other_place"])
        does = f"waits at another one{_at(there)}" if there else "has ended without reaching it"
        return (
            f"{self._me(raw)} waits at this threadgroup_barrier, but {other} {does}. Every thread of a threadgroup must "
            "reach the same barrier: keep it out of branches, and let no thread return before it."
        )

    def _simd_divergence(self, raw, region) -> str:
        there = self._place(raw["other_place"])
        does = f"is elsewhere{_at(there)}" if there else "does not take part"
        return (
            f"{raw['detail']} is called by lanes {_lanes(raw['lanes'])} of a SIMD-group in threadgroup "
            f"{_plain(self._group(raw['threadgroup']))} without lanes {_lanes(raw['missing_lanes'])}; "
            f"thread {_plain(self._thread(raw['threadgroup'], raw['other_thread']))} {does}. "
            "Let all 32 lanes call it: move it out of the branch, and give the others a neutral value."
        )

    def _simd_inactive(self, raw, region) -> str:
        return (
            f"{raw['detail']} reads a lane that takes no part, in threadgroup "
            f"{_plain(self._group(raw['threadgroup']))}: only lanes {_lanes(raw['lanes'])} do. Its value is undefined."
        )

    def _undefined(self, raw, region) -> str:
        return f"{self._me(raw)}: {raw['detail']}. The language does not define what happens then."

    def _threadgroup_memory(self, raw, region) -> str:
        return (
            f"With `{raw['detail']}`, the kernel's threadgroup memory is {raw['bytes']:,} bytes; a threadgroup has "
            "32,768. Use smaller tiles or a narrower type."
        )

    def _crash(self, raw, region) -> str:
        return f"{self._me(raw)}: {raw['detail']}."

    def _stack_overflow(self, raw, region) -> str:
        return f"{self._me(raw)} uses more than 256 KiB of private memory: arrays too large, or endless recursion."

    def _time_limit(self, raw, region) -> str:
        return f"After {self._seconds:g} s {self._me(raw)} was still running. Is there a loop that never ends?"


def _plain(position: tuple[int, int, int]) -> str:
    """(5, 0, 0) is 5 to a reader of a one-dimensional kernel."""
    return str(position[0]) if position[1:] == (0, 0) else str(position)


def _at(place) -> str:
    return f" at {location(*place)}" if place else ""


def _lanes(mask: int) -> str:
    """`0-15, 20`."""
    runs, lanes = [], [i for i in range(32) if mask >> i & 1]
    for lane in lanes:
        if runs and runs[-1][1] == lane - 1:
            runs[-1][1] = lane
        else:
            runs.append([lane, lane])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
