"""Wrong and right numbers of tiles."""

import numpy as np

from .. import mutant, rival

TILES = "flash_attention.causal_tiles"


def _checked(L, S):
    if L > S:
        raise ValueError(f"{L} queries, {S} keys: wanted L <= S")


def _tiles(first, last, L, S, size, *, offset=None, up=1, by=None, low=1):
    _checked(L, S)
    offset = S - L if offset is None else offset
    visited = (offset + last + size - 1) // size if up else (offset + last) // size
    return (offset + (first + low if by is None else by)) // size, visited


@mutant(TILES, "no_offset")
def without_offset(first, last, L, S, key_block):
    return _tiles(first, last, L, S, key_block, offset=0)


@mutant(TILES, "one_too_few")
def rounds_down(first, last, L, S, key_block):
    return _tiles(first, last, L, S, key_block, up=0)


@mutant(TILES, "one_too_many")
def last_counts(first, last, L, S, key_block):
    full, _ = _tiles(first, last, L, S, key_block)
    return full, (S - L + last) // key_block + 1


@mutant(TILES, "full_by_last")
def full_for_the_last(first, last, L, S, key_block):
    return _tiles(first, last, L, S, key_block, by=last)


@mutant(TILES, "full_off_by_one")
def full_before_its_own(first, last, L, S, key_block):
    return _tiles(first, last, L, S, key_block, low=0)


@mutant(TILES, "no_error")
def no_error(first, last, L, S, key_block):
    return (S - L + first + 1) // key_block, -(-(S - L + last) // key_block)


@mutant(TILES, None)
def numbers_of_tiles_alone(first, last, L, S, key_block):
    return _tiles(first, last, L, S, key_block)[1]


@rival(TILES)
def short_tiles_are_not_full(first, last, L, S, key_block):
    return _tiles(first, last, L, S, key_block)


@rival(TILES)
def by_looking(first, last, L, S, key_block):
    _checked(L, S)
    mask = np.arange(S) <= np.arange(S - L, S)[first:last, None]
    tiles = [mask[:, k : k + key_block] for k in range(0, S, key_block)]
    return [sum(tile.all() for tile in tiles), sum(tile.any() for tile in tiles)]
