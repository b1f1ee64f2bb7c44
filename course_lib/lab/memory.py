"""How much memory does it take? The peak of MLX's allocator while a function runs."""

import gc
from collections.abc import Callable
from typing import Any

import mlx.core as mx


def peak_memory(fn: Callable[[], Any]) -> int:
    """Bytes that MLX held at the worst moment of `fn`, above what it held before.

    The result counts, if `fn` returns it: it exists at the end. NumPy arrays and Python objects do not.

    Args:
        fn: without arguments; arrays in nested lists, tuples and dicts that it returns are evaluated.

    Returns:
        Bytes, 0 where `fn` allocates nothing.
    """
    # What earlier cells dropped but Python or MLX's cache still holds would hide or be hidden by this peak.
    gc.collect()
    mx.synchronize()
    mx.clear_cache()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    result = fn()
    mx.eval(result)
    mx.synchronize()
    peak = mx.get_peak_memory()
    del result
    mx.clear_cache()
    return max(0, peak - before)
