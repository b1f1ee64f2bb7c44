"""Say where a given value differs from the wanted one, so that the learner can find the mistake.

The messages name shape, dtype, the first differing index with both values, and the size of the
error against the tolerance: enough to act on without printing whole arrays.
"""

import mlx.core as mx
import numpy as np

# (absolute, relative) error allowed by default: some 50 units in the last place, since the learner may
# sum in another order than the oracle.
TOLERANCE = {
    mx.float32: (1e-5, 1e-5),
    mx.float16: (5e-3, 5e-3),
    mx.bfloat16: (4e-2, 4e-2),
}


class Mismatch(Exception):
    """What a case wanted and did not get.

    Attributes:
        message: what differs, in words and numbers, several lines.
        mistake: name of the known mistake that would give exactly this value, or None.
    """

    def __init__(self, message: str, mistake: str | None = None):
        super().__init__(message)
        self.message = message
        self.mistake = mistake


def is_array(value) -> bool:
    return isinstance(value, (mx.array, np.ndarray))


def as_numpy(array) -> np.ndarray:
    """A float64, integer or boolean NumPy copy; bfloat16 has no NumPy dtype and goes through float32."""
    if isinstance(array, mx.array):
        array = array.astype(mx.float32) if mx.issubdtype(array.dtype, mx.floating) else array
    array = np.array(array)
    return array.astype(np.float64) if np.issubdtype(array.dtype, np.floating) else array


def default_tolerance(dtype) -> tuple[float, float]:
    """(atol, rtol) for an MLX dtype; integers and booleans must be equal."""
    return TOLERANCE.get(dtype, (0.0, 0.0))


def describe_type(value) -> str:
    """One line on a value of the wrong kind: `None`, `a list of 3`, `a numpy array [2, 3] float32`."""
    if value is None:
        return "None (is a `return` missing?)"
    if isinstance(value, np.ndarray):
        return f"a NumPy array {list(value.shape)} {value.dtype}"
    if isinstance(value, mx.array):
        return f"an MLX array {list(value.shape)} {name_dtype(value.dtype)}"
    if isinstance(value, (list, tuple)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"{_short(value)} ({type(value).__name__})"


def name_dtype(dtype) -> str:
    return str(dtype).removeprefix("mlx.core.")


def array_difference(what: str, given, wanted: mx.array, atol: float, rtol: float) -> str | None:
    """Compare one array with the wanted one.

    Args:
        what: the expression being judged, as the learner would write it: `softmax(x)`.
        given: anything the learner's code returned.
        wanted: the oracle's array.
        atol, rtol: allowed error is `atol + rtol * |wanted|`.

    Returns:
        None when they agree, else a message of a few lines.
    """
    if not isinstance(given, mx.array):
        return f"{what} is {describe_type(given)}.\nWanted: {describe_type(wanted)}."
    shapes = _pair("shape", list(given.shape), list(wanted.shape))
    dtypes = _pair("dtype", name_dtype(given.dtype), name_dtype(wanted.dtype))
    if given.shape != wanted.shape:
        return f"{what} has the wrong shape.\n{shapes}\n{dtypes}"
    if given.dtype != wanted.dtype:
        return f"{what} has the wrong dtype.\n{shapes}\n{dtypes}"

    have, want = as_numpy(given), as_numpy(wanted)
    if have.size == 0:
        return None
    wrong = _wrong_places(have, want, atol, rtol)
    if not wrong.any():
        return None
    index = tuple(int(i) for i in np.argwhere(wrong)[0])
    lines = [
        f"{what} has the right shape but wrong values.",
        shapes,
        dtypes,
        _pair(f"at {list(index)}" if index else "value", _number(have[index]), _number(want[index])),
    ]
    if unexpected_nans := int((np.isnan(have) & ~np.isnan(want)).sum()):
        lines.append(f"  {unexpected_nans} of {have.size} values are NaN")
    share = f"  {int(wrong.sum())} of {have.size} values differ"
    if np.issubdtype(want.dtype, np.floating):
        with np.errstate(invalid="ignore"):
            error = np.abs(have - want)
        error = error[np.isfinite(error)]
        largest = f"{error.max():.3g}" if error.size else "not finite"
        share += f"; largest error {largest}, allowed {atol:g} + {rtol:g} x |wanted|"
    return "\n".join([*lines, share])


def same_value(given, other, atol: float, rtol: float) -> bool:
    """Does the given array equal what a known mistake would give? Shape and values count, not dtype."""
    if not is_array(given) or not is_array(other) or tuple(given.shape) != tuple(other.shape):
        return False
    return not _wrong_places(as_numpy(given), as_numpy(other), atol, rtol).any()


def value_difference(what: str, given, wanted) -> str | None:
    """Compare plain values: numbers, strings, lists, None. 0-d arrays count as numbers."""
    given_plain, wanted_plain = plain(given), plain(wanted)
    if type(given_plain) is bool or type(wanted_plain) is bool:
        same = given_plain is wanted_plain  # 1 == True, but a learner who returns 1 for True is told
    else:
        same = given_plain == wanted_plain
    if same is True:
        return None
    return f"{what} is {_short(given_plain)}.\nWanted: {_short(wanted_plain)}."


def plain(value):
    """Python numbers and lists from arrays, tuples as lists, element by element."""
    if is_array(value):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return value


def _wrong_places(have: np.ndarray, want: np.ndarray, atol: float, rtol: float) -> np.ndarray:
    if np.issubdtype(have.dtype, np.floating) or np.issubdtype(want.dtype, np.floating):
        return ~np.isclose(have, want, atol=atol, rtol=rtol, equal_nan=True)
    return have != want


def _pair(label: str, given, wanted) -> str:
    return f"  {label:<10} given {given!s:<22} wanted {wanted}"


def _number(value) -> str:
    return f"{value:.6g}" if isinstance(value, np.floating) else str(value)


def _short(value, limit: int = 160) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
