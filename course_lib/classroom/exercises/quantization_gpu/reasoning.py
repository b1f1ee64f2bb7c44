"""Reasoning about a GPU in numbers: cache lines of an access, threads on a core."""

from ....lab import occupancy, traffic
from ....lab.occupancy import Core
from ...exercise import Exercise

cache_lines = Exercise(
    "quantization_gpu.cache_lines",
    "Cache lines that a SIMD-group touches",
    name="cache_lines",
    reference=traffic.cache_lines,
    names={},
    mistakes={
        "one_a_lane": "You count the lanes. Two lanes in one line are served together: it counts once.",
        "bytes_alone": "You divide the bytes by 128, wherever they lie. 32 lanes that read 4 bytes each from 32 different lines touch 32.",
        "first_byte": "An access that begins in one line and ends in the next touches both. Its last byte is at `offset + nbytes - 1`.",
        "one_too_far": "You count the byte behind the access, too: its last one is at `offset + nbytes - 1`.",
    },
)


def _lines(t, words, offsets, nbytes, answer):
    def by(last):
        return len({line for o in offsets for line in range(o // 128, last(o) // 128 + 1)})

    t.equal(
        f"cache_lines({words}, {nbytes})",
        answer(list(offsets), nbytes),
        by(lambda o: o + nbytes - 1),
        mistakes={
            "one_a_lane": len(offsets),
            "first_byte": by(lambda o: o),
            "bytes_alone": -(-len(offsets) * nbytes // 128),
            "one_too_far": by(lambda o: o + nbytes),
        },
    )


@cache_lines.case("neighbours fill lines")
def _(answer, t):
    _lines(t, "[0, 4, ..., 124]", range(0, 128, 4), 4, answer)
    _lines(t, "[0, 16, ..., 496]", range(0, 512, 16), 16, answer)


@cache_lines.case("each lane in a row of its own")
def _(answer, t):
    _lines(t, "[0, 288, ..., 8928]", range(0, 32 * 288, 288), 4, answer)


@cache_lines.case("all lanes at one place, and in any order")
def _(answer, t):
    _lines(t, "[260] * 32", [260] * 32, 4, answer)
    _lines(t, "[512, 0, 512, 0]", [512, 0, 512, 0], 8, answer)


@cache_lines.case("an access across the border of two lines")
def _(answer, t):
    _lines(t, "[120, 124]", [120, 124], 16, answer)
    _lines(t, "[8, 24, ..., 504]", range(8, 520, 16), 16, answer)


@cache_lines.case("no lanes, no lines")
def _(answer, t):
    t.equal("cache_lines([], 4)", answer([], 4), 0)


CORE = Core(register_bytes=200_000, threadgroup_bytes=60_000, threads=2048)

resident_threads = Exercise(
    "quantization_gpu.resident_threads",
    "Threads that a core holds",
    name="resident_threads",
    reference=occupancy.resident_threads,
    names={},
    mistakes={
        "not_whole": "Threadgroups come whole: where 2.6 of them would fit, 2 are there.",
        "threadgroups": "That is the number of threadgroups. The question is for threads.",
        "registers_of_one": "`registers` is what one thread needs, and a threadgroup has `threads` of them.",
        "bytes": "A register has 32 bits, which are 4 bytes, and `core.register_bytes` counts bytes.",
        "no_memory": "A kernel without threadgroup memory is not limited by it: 0 bytes do not divide.",
    },
)


def _resident(t, threads, registers, memory, answer):
    limits = [CORE.threads / threads, CORE.register_bytes / (4 * registers * threads)]
    by_register = [CORE.threads // threads, CORE.register_bytes // (registers * threads)]
    by_thread = [CORE.threads // threads, CORE.register_bytes // (4 * registers)]
    if memory:
        limits.append(CORE.threadgroup_bytes / memory)
        by_register.append(CORE.threadgroup_bytes // memory)
        by_thread.append(CORE.threadgroup_bytes // memory)
    groups = int(min(limits))
    t.equal(
        f"resident_threads({threads}, registers={registers}, threadgroup_bytes={memory}, core)",
        answer(threads, registers, memory, CORE),
        groups * threads,
        mistakes={
            "not_whole": lambda given: given in (min(limits) * threads, int(min(limits) * threads)),
            "threadgroups": groups,
            "registers_of_one": min(by_thread) * threads,
            "bytes": min(by_register) * threads,
        },
    )


@resident_threads.case("limited by threads", errors={"no_memory": "ZeroDivisionError"})
def _(answer, t):
    _resident(t, 300, 8, 0, answer)


@resident_threads.case("limited by registers")
def _(answer, t):
    _resident(t, 128, 120, 0, answer)
    _resident(t, 256, 128, 1_000, answer)


@resident_threads.case("limited by threadgroup memory")
def _(answer, t):
    _resident(t, 128, 24, 17_000, answer)


@resident_threads.case("one that does not fit at all")
def _(answer, t):
    _resident(t, 1024, 128, 0, answer)
