"""Wrong and right counts of bytes."""

from .. import mutant, rival

MOVED, BLOCK = "flash_attention_gpu.moved_bytes", "flash_attention_gpu.largest_block"


def _moved(L, S, D, queries, itemsize, causal, *, blocks=None, once=2, both=2, whole=True, offset=None):
    total, offset = once * L * D, S - L if offset is None else offset
    starts = range(0, L, queries) if blocks is None else [i * queries for i in range(blocks)]
    for first in starts:
        end = min(S, offset + min(first + queries, L)) if causal else S
        total += both * D * (min(S, (end + 31) // 32 * 32) if whole else end)
    return total * itemsize


@mutant(MOVED, "each_query")
def once_a_query(L, S, D, queries, *, itemsize=2, causal=False):
    return _moved(L, S, D, 1, itemsize, causal)


@mutant(MOVED, "whole_blocks")
def rounds_down(L, S, D, queries, *, itemsize=2, causal=False):
    return _moved(L, S, D, queries, itemsize, causal, blocks=L // queries)


@mutant(MOVED, "keys_alone")
def no_values(L, S, D, queries, *, itemsize=2, causal=False):
    return _moved(L, S, D, queries, itemsize, causal, both=1)


@mutant(MOVED, "no_result")
def queries_alone(L, S, D, queries, *, itemsize=2, causal=False):
    return _moved(L, S, D, queries, itemsize, causal, once=1)


@mutant(MOVED, "no_result")
def nothing_once(L, S, D, queries, *, itemsize=2, causal=False):
    return _moved(L, S, D, queries, itemsize, causal, once=0)


@mutant(MOVED, "not_bytes")
def numbers(L, S, D, queries, *, itemsize=2, causal=False):
    return _moved(L, S, D, queries, 1, causal)


@mutant(MOVED, "no_skipping")
def no_skipping(L, S, D, queries, *, itemsize=2, causal=False):
    return _moved(L, S, D, queries, itemsize, False)


@mutant(MOVED, "seen_alone")
def keys_that_are_seen(L, S, D, queries, *, itemsize=2, causal=False):
    return _moved(L, S, D, queries, itemsize, causal, whole=False)


@mutant(MOVED, "no_offset")
def queries_at_the_begin(L, S, D, queries, *, itemsize=2, causal=False):
    return _moved(L, S, D, queries, itemsize, causal, offset=0)


@mutant(MOVED, None)
def a_tile_too_many(L, S, D, queries, *, itemsize=2, causal=False):
    return _moved(L, S, D, queries, itemsize, causal) + 64 * D * itemsize


@rival(MOVED)
def in_closed_form_without_a_mask(L, S, D, queries, *, itemsize=2, causal=False):
    if not causal:
        return 2 * D * itemsize * (L + (L + queries - 1) // queries * S)
    tiles = sum(1 for q in range(0, L, queries) for k in range(0, S, 32) if k <= S - L + min(q + queries, L) - 1)
    short = sum(S % 32 > 0 and S - S % 32 <= S - L + min(q + queries, L) - 1 for q in range(0, L, queries))
    return 2 * D * itemsize * (L + 32 * tiles - short * (32 - S % 32))


def _block(D, itemsize, *, tile=True, pitch=1, size=None, step=4, limit=32 * 1024, error=True):
    size = itemsize if size is None else size
    queries = (limit - tile * 32 * (D + pitch) * size) // (D * size) // step * step
    if error and queries < 4:
        raise ValueError("too large")
    return queries


@mutant(BLOCK, "no_tile")
def without_tile(D, itemsize):
    return _block(D, itemsize, tile=False)


@mutant(BLOCK, "no_pitch")
def without_pitch(D, itemsize):
    return _block(D, itemsize, pitch=0)


@mutant(BLOCK, "not_bytes")
def in_numbers(D, itemsize):
    return _block(D, itemsize, size=1)


@mutant(BLOCK, "not_shared_evenly")
def any_number(D, itemsize):
    return _block(D, itemsize, step=1)


@mutant(BLOCK, "kilobytes")
def thousands(D, itemsize):
    return _block(D, itemsize, limit=32_000)


@mutant(BLOCK, "no_error")
def no_error(D, itemsize):
    return max(0, _block(D, itemsize, error=False))


@mutant(BLOCK, None)
def half_of_it(D, itemsize):
    return _block(D, itemsize) // 8 * 4


@rival(BLOCK)
def by_trying(D, itemsize):
    queries = 0
    while (32 * (D + 1) + (queries + 4) * D) * itemsize <= 32768:
        queries += 4
    if not queries:
        raise ValueError(f"D = {D} with {itemsize} bytes: nothing fits")
    return queries
