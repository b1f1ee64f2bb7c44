"""Which tiles a causal mask leaves out."""

import numpy as np

from ....techniques import flash_attention as techniques
from ...exercise import Exercise
from .oracle import NAMES, band

causal_tiles = Exercise(
    "flash_attention.causal_tiles",
    "Tiles that need not be visited",
    name="causal_tiles",
    reference=techniques.causal_tiles,
    names=NAMES,
    mistakes={
        "no_offset": "With more keys than queries the queries stand at the end: query l at position S - L + l.",
        "one_too_few": "The last tile that is seen in part is not visited. Query l sees the key at its own position, too, and a tile that is begun counts: round up.",
        "one_too_many": "A tile is visited that no query of the block sees. The block's last query is `last - 1`.",
        "full_by_last": "A tile counts as full if *every* query of the block sees all of it. The first one sees least.",
        "full_off_by_one": "The number of full tiles is off by one at a tile's edge: the first query sees S - L + first + 1 keys, its own with them.",
        "no_error": "More queries than keys are an error: raise ValueError, with a message.",
    },
)


def by_definition(first, last, L, S, size):
    mask = band(L, S)[first:last]
    tiles = [mask[:, k : k + size] for k in range(0, S, size)]
    return sum(bool(x.all()) for x in tiles), sum(bool(x.any()) for x in tiles)


def check_blocks(answer, t, L, S, query_block, size):
    for first in range(0, L, query_block):
        last = min(first + query_block, L)
        full, visited = by_definition(first, last, L, S, size)
        given = answer(first, last, L, S, size)
        # A last tile with fewer keys, seen by all: with a mask or without, the result is the same.
        if full == visited == -(-S // size) and S % size and _pair(given) and tuple(given) == (full - 1, visited):
            continue
        high = S - L + last
        offset_free = (first + 1) // size, -(-last // size)
        mistakes = {
            "no_offset": offset_free,
            "one_too_few": lambda g, full=full, visited=visited: _pair(g) and g[1] < visited,
            "one_too_many": lambda g, visited=visited: _pair(g) and g[1] > visited,
            "full_by_last": lambda g, high=high, full=full: _pair(g) and g[0] > full and g[0] == high // size,
            "full_off_by_one": lambda g, full=full: _pair(g) and g[0] != full,
        }
        if offset_free == (full, visited):
            del mistakes["no_offset"]
        t.equal(
            f"causal_tiles({first}, {last}, L={L}, S={S}, key_block={size})",
            tuple(int(x) for x in given) if _pair(given) else given, (full, visited), mistakes=mistakes,
        )  # fmt: skip


def _pair(g):
    return isinstance(g, tuple | list) and len(g) == 2 and all(isinstance(x, int | np.integer) for x in g)


@causal_tiles.case("as many keys as queries")
def _(answer, t):
    check_blocks(answer, t, 64, 64, 16, 16)
    check_blocks(answer, t, 64, 64, 8, 16)
    check_blocks(answer, t, 60, 60, 15, 16)


@causal_tiles.case("more keys than queries")
def _(answer, t):
    check_blocks(answer, t, 32, 64, 16, 16)
    check_blocks(answer, t, 20, 100, 8, 16)


@causal_tiles.case("one query sees all keys")
def _(answer, t):
    for S in (1, 16, 17, 63):
        check_blocks(answer, t, 1, S, 1, 16)


@causal_tiles.case("any lengths and blocks")
def _(answer, t):
    for _ in range(40):
        L = int(t.rng.integers(1, 60))
        check_blocks(answer, t, L, L + int(t.rng.integers(0, 80)), int(t.rng.integers(1, 20)), int(t.rng.integers(1, 20)))


@causal_tiles.case("more queries than keys are an error")
def _(answer, t):
    t.raises(ValueError, lambda: answer(0, 8, 9, 8, 4), "causal_tiles(0, 8, L=9, S=8, key_block=4)", mistake="no_error")
