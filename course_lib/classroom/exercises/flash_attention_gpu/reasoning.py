"""What a block of queries saves, and how large it may be: counted before anything is written."""

import numpy as np

from ....techniques import attention_traffic as techniques
from ...exercise import Exercise

KEYS = 32  # in a tile
LIMIT = 32 * 1024  # bytes of threadgroup memory

moved_bytes = Exercise(
    "flash_attention_gpu.moved_bytes",
    "The bytes that a block of queries saves",
    name="moved_bytes",
    reference=techniques.moved_bytes,
    names={"np": np},
    mistakes={
        "each_query": "Keys and values are read once for each *block* of queries: there are L / queries of them, not L.",
        "whole_blocks": "L need not be a multiple of the block: the last block is shorter, and reads all the keys it sees nevertheless. Round up.",
        "keys_alone": "Keys *and* values are read: two numbers for each key and feature.",
        "no_result": "Something that moves once is missing. The queries are read, and the result is written: L * D numbers each.",
        "not_bytes": "You count numbers. Each has `itemsize` bytes.",
        "no_skipping": "With a causal mask a block visits only the tiles that its last query sees some of.",
        "seen_alone": "A tile is read whole, 32 keys, also where the block sees only some of them. Only S ends it earlier.",
        "no_offset": "With more keys than queries the queries stand at the end: the block from `first` to `last - 1` sees keys 0 to S - L + last - 1.",
    },
)


def by_counting(L, S, D, queries, itemsize, causal, *, seen_alone=False, offset=None) -> int:
    """Block by block and tile by tile."""
    mask = (np.arange(S) <= (S - L if offset is None else offset) + np.arange(L)[:, None]) if causal else np.ones((L, S), bool)
    numbers = 2 * L * D
    for first in range(0, L, queries):
        rows = mask[first : first + queries]
        for key in range(0, S, KEYS):
            tile = rows[:, key : key + KEYS]
            if tile.any():
                numbers += 2 * D * (int(tile.any(0).sum()) if seen_alone else tile.shape[1])
    return numbers * itemsize


def check_count(answer, t, L, S, D, queries, itemsize=2, causal=False):
    wanted = by_counting(L, S, D, queries, itemsize, causal)
    once, blocks = 2 * L * D * itemsize, -(-L // queries)
    made = {
        "each_query": by_counting(L, S, D, 1, itemsize, causal),
        "whole_blocks": once + 2 * S * D * itemsize * (L // queries),
        "keys_alone": once + (wanted - once) // 2,
        "no_result": [wanted - once // 2, wanted - once],
        "not_bytes": wanted // itemsize,
        "no_skipping": once + 2 * S * D * itemsize * blocks,
        "seen_alone": by_counting(L, S, D, queries, itemsize, causal, seen_alone=True),
        "no_offset": by_counting(L, S, D, queries, itemsize, causal, offset=0),
    }
    if causal:
        del made["whole_blocks"]  # told by the cases before
    mistakes = {}
    for name, values in made.items():
        values = [v for v in (values if isinstance(values, list) else [values]) if v != wanted]
        if values:
            mistakes[name] = lambda given, values=values: given in values
    given = answer(L, S, D, queries, itemsize=itemsize, causal=causal)
    t.equal(f"moved_bytes({L}, {S}, {D}, {queries}, itemsize={itemsize}, causal={causal})", given, wanted, mistakes=mistakes)


@moved_bytes.case("whole blocks, no mask")
def _(answer, t):
    check_count(answer, t, 64, 96, 64, 16)
    check_count(answer, t, 64, 64, 128, 64, itemsize=4)


@moved_bytes.case("a last block that is shorter")
def _(answer, t):
    check_count(answer, t, 70, 96, 64, 16)
    check_count(answer, t, 1, 500, 64, 32)


@moved_bytes.case("a causal mask")
def _(answer, t):
    check_count(answer, t, 160, 160, 64, 24, causal=True)
    check_count(answer, t, 128, 128, 64, 40, causal=True)


@moved_bytes.case("a causal mask with more keys than queries")
def _(answer, t):
    check_count(answer, t, 48, 200, 64, 16, causal=True)
    for _ in range(20):
        L = int(t.rng.integers(1, 90))
        check_count(answer, t, L, L + int(t.rng.integers(0, 120)), 64, int(t.rng.integers(1, 40)), causal=True)


largest_block = Exercise(
    "flash_attention_gpu.largest_block",
    "The block that threadgroup memory holds",
    name="largest_block",
    reference=techniques.largest_block,
    names={"np": np},
    mistakes={
        "no_tile": "The tile of 32 keys lies in threadgroup memory, too: take its bytes off first.",
        "no_pitch": "A row of the tile is D + 1 numbers long, one more than a key has.",
        "not_bytes": "32 KiB are bytes, and a number takes `itemsize` of them.",
        "not_shared_evenly": "The four SIMD-groups share the queries evenly: round down to a multiple of 4.",
        "kilobytes": "32 KiB are 32 * 1024 bytes.",
        "no_error": "Where not even 4 queries fit, raise ValueError, with a message.",
    },
)


def fits(D, itemsize, queries) -> bool:
    return (KEYS * (D + 1) + queries * D) * itemsize <= LIMIT


def check_block(answer, t, D, itemsize):
    wanted = max(n for n in range(0, LIMIT, 4) if fits(D, itemsize, n))
    tile = KEYS * (D + 1) * itemsize
    made = {
        "no_tile": LIMIT // (D * itemsize) // 4 * 4,
        "no_pitch": (LIMIT - KEYS * D * itemsize) // (D * itemsize) // 4 * 4,
        "not_bytes": (LIMIT - KEYS * (D + 1)) // D // 4 * 4,
        "not_shared_evenly": (LIMIT - tile) // (D * itemsize),
        "kilobytes": (32_000 - tile) // (D * itemsize) // 4 * 4,
    }
    t.equal(
        f"largest_block({D}, {itemsize})", answer(D, itemsize), wanted,
        mistakes={name: value for name, value in made.items() if value != wanted},
    )  # fmt: skip


@largest_block.case("float16 and float32, head sizes of real models")
def _(answer, t):
    for D in (64, 96, 128, 256):
        check_block(answer, t, D, 2)
    for D in (64, 96, 128):
        check_block(answer, t, D, 4)


@largest_block.case("any head size: the largest that fits, and no larger")
def _(answer, t):
    for D in (33, 40, 63, 65, 72, 80, 112, 120, 160, 192):
        check_block(answer, t, D, 2)
        if fits(D, 4, 4):
            check_block(answer, t, D, 4)


@largest_block.case("head sizes for which nothing fits are an error")
def _(answer, t):
    for D, itemsize in ((512, 2), (256, 4)):
        assert not fits(D, itemsize, 4)
        t.raises(ValueError, lambda D=D, size=itemsize: answer(D, size), f"largest_block({D}, {itemsize})", mistake="no_error")
