"""What tiles are for on a GPU: the bytes that attention moves follow from the block of queries, and its size from the memory.

FlashAttention (https://arxiv.org/abs/2205.14135), theorem 2: with M numbers of fast memory, N queries and keys of size
D need about N^2 D^2 / M accesses to slow memory. Each block of queries reads all keys and values once; there are N /
block of them, and a block of M / D queries is what fits.
"""

THREADGROUP_BYTES = 32 * 1024  # that a threadgroup may use on an Apple GPU
KEYS = 32  # in a tile
SIMDGROUPS = 4  # of a threadgroup, which share its queries evenly


def moved_bytes(L: int, S: int, D: int, queries: int, *, itemsize: int = 2, causal: bool = False) -> int:
    """Bytes between device memory and the threads, for one head whose threadgroups take `queries` queries each.

    Queries and the result move once, keys and values once for every threadgroup that visits their tile.

    Args:
        L: queries; S: keys; D: head size.
        queries: of a threadgroup.
        itemsize: bytes of a number.
        causal: whether query l sees keys 0 to S - L + l only, and tiles of 32 keys that none sees are not visited.
    """
    once = 2 * L * D  # queries and result
    again = 0
    for first in range(0, L, queries):
        end = min(S, S - L + first + queries) if causal else S  # keys that its last query sees
        again += 2 * D * min(S, -(-end // KEYS) * KEYS)
    return itemsize * (once + again)


def largest_block(D: int, itemsize: int) -> int:
    """How many queries a threadgroup can keep, beside a tile of 32 keys whose rows are D + 1 numbers long.

    Args:
        D: head size; itemsize: bytes of a number.

    Returns:
        A multiple of 4, for 4 SIMD-groups.

    Raises:
        ValueError: not even 4 fit.
    """
    left = THREADGROUP_BYTES - KEYS * (D + 1) * itemsize
    queries = left // (D * itemsize) // SIMDGROUPS * SIMDGROUPS
    if queries < SIMDGROUPS:
        raise ValueError(f"A tile of {KEYS} keys of {D} numbers leaves no room for {SIMDGROUPS} queries in 32 KiB.")
    return queries
