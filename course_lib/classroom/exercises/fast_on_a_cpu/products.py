"""A token times a quantized matrix, by products of bytes."""

import numpy as np

from ....techniques import byte_products as techniques
from ...exercise import Exercise

GROUP = 32
EPSILON = 2.0**-24

multiply_by_bytes = Exercise(
    "fast_on_a_cpu.multiply_by_bytes",
    "A float product, by products of bytes",
    name="multiply_by_bytes",
    reference=techniques.multiply_by_bytes,
    names={"np": np},
    uses=("fast_on_a_cpu.to_integers", "fast_on_a_cpu.to_digits"),
    mistakes={
        "no_bias": "The biases are missing: each group adds bias * (sum of its x).",
        "no_unit": "The units are missing: the sums count units, and each group has its own.",
        "no_base": "The digits' sums are added as they are. The sum of a digit counts 256 times as much as that of the next lower one.",
        "digits_ignored": "`digits` makes no difference. With one digit the result is coarser: hand it on to to_integers and to_digits.",
        "order": (
            "With a group's columns in another order the result differs in the last bits, so that floats were added somewhere "
            "along a group's columns. The products of bytes are integers, and so are their sums: no float before a group's sum is whole. "
            "The sum of x, too, is a sum of integers."
        ),
        "narrow": "Some sum did not fit its integers. Products of bytes summed are wider than a byte: `.astype(np.int64)` first.",
        "dtype": "The values are right. Return float32.",
    },
)


def problem(t, N, K, outlier=False):
    x = t.rng.standard_normal(K).astype(np.float32)
    if outlier:
        x[3] = 300.0
    q = t.rng.integers(0, 16, (N, K)).astype(np.uint8)
    scales = t.rng.uniform(0.01, 0.1, (N, K // GROUP)).astype(np.float32)
    biases = (-8 * scales + t.rng.normal(0, 0.02, scales.shape)).astype(np.float32)
    for name, value in zip(("x", "q", "scales", "biases"), (x, q, scales, biases), strict=True):
        t.watch(name, value)
    return x, q, scales, biases


def wide(x, q, scales, biases, *, units=None):
    """In float64: the product, and an upper bound of what rounding each group to `units` may change."""
    groups, weights = (a.astype(np.float64).reshape(*a.shape[:-1], -1, GROUP) for a in (x, q))
    w = scales.astype(np.float64)[..., None] * weights + biases.astype(np.float64)[..., None]  # [N, G, 32]
    terms = w * groups
    # Rounded: half a unit for each x. And float32, up to a step for each group, in sizes that sums reach.
    half = 0 if units is None else (np.abs(w).sum(-1) * units / 2).sum(-1)
    size = (np.abs(scales) * (np.abs(groups[None]) * weights).sum(-1) + np.abs(biases) * np.abs(groups).sum(-1)).sum(-1)
    return terms.sum((-1, -2)), half + 4 * EPSILON * (scales.shape[1] + 2) * size


def exact_units(x, digits):
    most = 127 * sum(256**d for d in range(digits))
    largest = np.abs(x.reshape(-1, GROUP).astype(np.float64)).max(-1)
    return 2.0 ** np.ceil(np.log2(np.where(largest > 0, largest, 1) / most))


def check_product(answer, t, N, K, digits, outlier=False):
    x, q, scales, biases = problem(t, N, K, outlier)
    what = f"multiply_by_bytes(x [{K}], q [{N}, {K}], scales, biases, digits={digits})"
    given = answer(x, q, scales, biases, digits)
    shape = list(np.shape(given))
    t.true(isinstance(given, np.ndarray) and shape == [N], f"{what} is {type(given).__name__} {shape}.\nWanted: a NumPy array [{N}].")
    units = exact_units(x, digits)
    wanted, allowed = wide(x, q, scales, biases, units=units)
    rest = given.astype(np.float64) - wanted
    wrong = np.abs(rest) > allowed
    if wrong.any():
        n = int(np.argmax(wrong))
        message = f"{what} at [{n}] is {given[n]:.7g}.\nWanted: {wanted[n]:.7g}, off by at most {allowed[n]:.2g}."
        t.true(False, message, mistake_of(given, x, q, scales, biases, digits, units, allowed))
    t.true(given.dtype == np.float32, f"{what} is {given.dtype}.\nWanted: float32.", "dtype")
    return given, (x, q, scales, biases)


def mistake_of(given, x, q, scales, biases, digits, units, allowed):
    groups, weights = x.reshape(-1, GROUP).astype(np.float64), q.reshape(len(q), -1, GROUP).astype(np.int64)
    integers = np.rint(groups / units[:, None]).astype(np.int64)
    sums, of_x = (weights * integers).sum(-1), units * integers.sum(-1)
    parts, rest = [], integers
    for _ in range(digits):
        digit = (rest + 128) % 256 - 128
        parts.append(digit)
        rest = (rest - digit) // 256
    based = (weights * sum(parts)).sum(-1)
    kinds = {"int8": np.int8, "int16": np.int16}
    cut = [sum(256**i * (weights * p).astype(kind).sum(-1, dtype=out).astype(np.int64) for i, p in enumerate(parts))
           for kind, out in ((kinds["int8"], np.int64), (kinds["int8"], kinds["int8"]), (kinds["int16"], kinds["int16"]))]  # fmt: skip
    made = {
        "no_bias": [scales * units * sums],
        "no_unit": [scales * sums + biases * integers.sum(-1), scales * sums + biases * of_x],
        "no_base": [scales * units * based + biases * of_x],
        "narrow": [scales * units * c + biases * of_x for c in cut],
    }
    for name, candidates in made.items():
        for candidate in candidates:
            y = candidate.sum(-1)
            if (np.abs(given - y) <= allowed + 1e-6 * np.abs(y)).all():
                return name
    return None


@multiply_by_bytes.case("three digits, one group")
def _(answer, t):
    check_product(answer, t, 5, 32, 3)


@multiply_by_bytes.case("many groups, and an outlier")
def _(answer, t):
    check_product(answer, t, 24, 576, 3)
    check_product(answer, t, 24, 576, 3, outlier=True)


@multiply_by_bytes.case("one digit and two: coarser, as they should be")
def _(answer, t):
    for digits in (1, 2):
        given, arrays = check_product(answer, t, 24, 576, digits)
        fine, _ = wide(*arrays)
        units = exact_units(arrays[0], digits)
        rounded = np.rint(arrays[0].reshape(-1, GROUP).astype(np.float64) / units[:, None]) * units[:, None]
        coarse, allowed = wide(rounded.reshape(-1), *arrays[1:])
        off = np.abs(given - coarse)
        t.true((off <= 2 * allowed).all(), f"digits={digits}: the result is {off.max():.2g} from that of x rounded to {digits} digits of its group's unit.",
               "digits_ignored" if (np.abs(given - fine) <= 2 * allowed).all() else None)  # fmt: skip


@multiply_by_bytes.case("in whatever order the columns of a group are, the same to the last bit")
def _(answer, t):
    x, q, scales, biases = problem(t, 64, 256, outlier=True)
    first = np.array(answer(x, q, scales, biases, 3))
    for _ in range(4):
        order = np.concatenate([g + t.rng.permutation(GROUP) for g in range(0, 256, GROUP)])
        other = np.array(answer(x[order], q[:, order], scales, biases, 3))
        t.true(np.array_equal(first, other), f"{int((first != other).sum())} of 64 results differ with the columns of each group in another order.", "order")
