"""Whole numbers compared: to the last one, whatever the width in which an answer holds them."""

from collections.abc import Mapping

import mlx.core as mx
import numpy as np


def same_integers(t, what: str, given, wanted, *, dtype=None, mistakes: Mapping[str, object] | None = None) -> None:
    """Want an array of integers.

    Args:
        t: the Trial.
        what: the expression, as the learner would write it.
        given: an array of NumPy's or MLX's.
        wanted: integers, of the wanted shape.
        dtype: wanted, if the width is part of the answer; None: any integers.
        mistakes: as `Trial.close` takes them.
    """
    if isinstance(given, np.ndarray | mx.array):
        given = np.array(given)
        if np.issubdtype(given.dtype, np.integer) and dtype is None:
            given = given.astype(np.int64)
        given = mx.array(given)
    wanted = as_integers(wanted, dtype)
    known = {name: other if callable(other) else _exactly(other) for name, other in (mistakes or {}).items()}
    t.close(what, given, wanted, mistakes=known)


def _exactly(other: mx.array):
    """Whether an answer is this array, dtype and all: the right values in a wrong type are another mistake."""
    return lambda given: (
        isinstance(given, mx.array) and given.dtype == other.dtype and given.shape == other.shape and mx.array_equal(given, other).item()
    )


def as_integers(values, dtype=None) -> mx.array:
    return mx.array(np.array(values).astype(np.int64 if dtype is None else dtype))
