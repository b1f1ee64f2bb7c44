"""How far two computations of the same thing in float32 may lie apart."""

import mlx.core as mx
import numpy as np

EPSILON = 2.0**-23


def assert_close(got: mx.array, want: np.ndarray, size: np.ndarray, times: float = 4.0) -> None:
    """|got - want| <= times * epsilon * size, everywhere.

    Args:
        got: what a kernel computed in float32.
        want: the same in float64.
        size: the sum of the magnitudes that went into each number, which rounding is relative to.
    """
    got = np.array(got, dtype=np.float64)
    assert got.shape == want.shape, f"shape {got.shape}, wanted {want.shape}"
    excess = np.abs(got - want) - (times * EPSILON * size + 1e-30)
    if got.size and not (excess <= 0).all():
        at = np.unravel_index(np.nanargmax(np.where(np.isnan(excess), np.inf, excess)), got.shape)
        raise AssertionError(
            f"at {tuple(map(int, at))}: {got[at]:.9g}, wanted {want[at]:.9g}, "
            f"{abs(got[at] - want[at]) / (EPSILON * size[at] + 1e-30):.3g} epsilons apart, allowed {times:g}"
        )


def same_bits(a: mx.array, b: mx.array) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and mx.array_equal(a, b).item()


def float64(a: mx.array) -> np.ndarray:
    """bfloat16 too, which NumPy does not know."""
    return np.array(a.astype(mx.float32), dtype=np.float64)
