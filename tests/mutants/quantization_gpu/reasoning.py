"""Wrong and right answers to the exercises in Python."""

from .. import mutant, rival

LINES, RESIDENT = "quantization_gpu.cache_lines", "quantization_gpu.resident_threads"


@mutant(LINES, "one_a_lane")
def counts_lanes(offsets, nbytes):
    return len(offsets)


@mutant(LINES, "bytes_alone")
def counts_bytes(offsets, nbytes):
    return (len(offsets) * nbytes + 127) // 128


@mutant(LINES, "first_byte")
def forgets_the_end(offsets, nbytes):
    return len({offset // 128 for offset in offsets})


@mutant(LINES, "one_too_far")
def counts_one_more(offsets, nbytes):
    return len({line for o in offsets for line in range(o // 128, (o + nbytes) // 128 + 1)})


@mutant(LINES, None)
def from_first_to_last(offsets, nbytes):
    if not offsets:
        return 0
    return (max(offsets) + nbytes - 1) // 128 - min(offsets) // 128 + 1


@rival(LINES)
def byte_by_byte(offsets, nbytes):
    return len({byte // 128 for offset in offsets for byte in range(offset, offset + nbytes)})


@mutant(RESIDENT, "not_whole")
def cuts_threadgroups(threads, registers, threadgroup_bytes, core):
    counts = [core.threads / threads, core.register_bytes / (4 * registers * threads)]
    counts += [core.threadgroup_bytes / threadgroup_bytes] if threadgroup_bytes else []
    return int(threads * min(counts))


@mutant(RESIDENT, "threadgroups")
def counts_threadgroups(threads, registers, threadgroup_bytes, core):
    counts = [core.threads // threads, core.register_bytes // (4 * registers * threads)]
    counts += [core.threadgroup_bytes // threadgroup_bytes] if threadgroup_bytes else []
    return min(counts)


@mutant(RESIDENT, "registers_of_one")
def forgets_the_threads(threads, registers, threadgroup_bytes, core):
    counts = [core.threads // threads, core.register_bytes // (4 * registers)]
    counts += [core.threadgroup_bytes // threadgroup_bytes] if threadgroup_bytes else []
    return threads * min(counts)


@mutant(RESIDENT, "bytes")
def takes_registers_for_bytes(threads, registers, threadgroup_bytes, core):
    counts = [core.threads // threads, core.register_bytes // (registers * threads)]
    counts += [core.threadgroup_bytes // threadgroup_bytes] if threadgroup_bytes else []
    return threads * min(counts)


@mutant(RESIDENT, "no_memory")
def divides_by_nothing(threads, registers, threadgroup_bytes, core):
    counts = core.threads // threads, core.register_bytes // (4 * registers * threads), core.threadgroup_bytes // threadgroup_bytes
    return threads * min(counts)


@rival(RESIDENT)
def one_after_another(threads, registers, threadgroup_bytes, core):
    held = 0
    while (
        (held + 1) * threads <= core.threads
        and (held + 1) * threads * registers * 4 <= core.register_bytes
        and (held + 1) * threadgroup_bytes <= core.threadgroup_bytes
    ):
        held += 1
    return held * threads
