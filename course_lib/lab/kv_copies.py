"""How many bytes has a cache moved? Counted from outside, for any cache that tells its size.

A cache must hand out one contiguous array, so where the room it holds has another size than before,
everything in it was copied; where it has the same size, only the new tokens were written.
"""

from collections.abc import Callable, Sequence

import mlx.core as mx
import numpy as np


def bytes_copied(make_cache: Callable, tokens: int, shape: Sequence[int], dtype=mx.float32) -> np.ndarray:
    """Bytes that a new cache copies or writes while it grows one token at a time.

    Args:
        make_cache: gives an empty cache with `update_and_fetch(keys, values)` and `nbytes`.
        tokens: number of updates.
        shape: [B, H_kv, D] of one token's keys, and of its values.
        dtype: of both.

    Returns:
        [tokens]: the sum up to and including each update.
    """
    B, H_kv, D = shape
    new = mx.zeros((B, H_kv, 1, D), dtype)
    cache, copied, room = make_cache(), [], 0
    for held in range(tokens):
        mx.eval(cache.update_and_fetch(new, new))
        moved = held if cache.nbytes != room else 0
        room = cache.nbytes
        copied.append((moved + 1) * 2 * new.nbytes)
    return np.cumsum(copied)
