"""Floats as whole numbers of a unit, and those as bytes."""

import numpy as np

from ....techniques import byte_products as techniques
from ...exercise import Exercise
from .whole_numbers import as_integers, same_integers

NAMES = {"np": np}
MOST = {1: 127, 2: 127 * 257, 3: 127 * 65793}  # that so many digits hold with either sign, the same in all digits

to_integers = Exercise(
    "fast_on_a_cpu.to_integers",
    "Floats as whole numbers of a unit",
    name="to_integers",
    reference=techniques.to_integers,
    names=NAMES,
    mistakes={
        "no_power": "The unit is no power of two. Dividing by a power of two changes no digit of a float, so that nothing is rounded but the rest.",
        "too_coarse": "The unit is larger than it has to be: halve it, and all integers of the group still fit. Half a unit is what each number may be off.",
        "too_fine": "Some integers do not fit their digits: the unit has to be larger.",
        "one_for_all": "All groups share one unit. Then an outlier in one group costs all the others their precision: each group has its own.",
        "cut_off": "The integers are cut off where they should be rounded: off by up to a whole unit instead of half of one. `np.rint`.",
        "zeros": "A group of zeros has no largest number to divide by: its integers are zeros, and its unit may be any finite power of two.",
    },
)


def check_integers(answer, t, x, digits):
    x = t.watch("x", x.astype(np.float32))
    made = answer(x, digits)
    pair = isinstance(made, tuple | list) and len(made) == 2
    t.true(pair, f"to_integers(x, {digits}) gives {type(made).__name__}.\nWanted: two arrays, integers and units.")
    integers, units = (np.array(a) for a in made)
    what = f"to_integers(x, {digits}) for x {list(x.shape)}"
    shapes = list(integers.shape), list(units.shape)
    wanted = list(x.shape), list(x.shape[:-1])
    t.true(shapes == wanted, f"{what}: integers {shapes[0]} and units {shapes[1]}.\nWanted: {wanted[0]} and {wanted[1]}.",
           "one_for_all" if units.size == 1 < groups_of(x) else None)  # fmt: skip
    t.true(np.issubdtype(integers.dtype, np.integer), f"{what}: the integers are {integers.dtype}.\nWanted: an integer type.",
           "zeros" if not np.isfinite(integers).all() else None)  # fmt: skip
    zeros = not x.any(-1).all()
    finite = np.isfinite(units).all() and (units > 0).all()
    t.true(finite, f"{what}: some unit is {units.min()}.\nWanted: finite and above zero.", "zeros" if zeros else None)
    mantissas = np.frexp(units.astype(np.float64))[0]
    t.true((mantissas == 0.5).all(), f"{what}: some unit is no power of two: {units[mantissas != 0.5].flat[:1]}", "no_power")
    integers, units = integers.astype(np.int64), units.astype(np.float64)
    error = np.abs(x.astype(np.float64) - integers * units[..., None]) / units[..., None]
    most = np.abs(integers).max(-1)
    same_unit = units.size > 1 and len(np.unique(units)) == 1 and len({float(np.ceil(np.log2(v))) for v in largest(x)}) > 1
    some = x.any(-1)
    too_fine = most > MOST[digits]
    t.true(not too_fine.any(), f"{what}: the largest integer is {most.max()}.\nWanted: at most {MOST[digits]}.", "too_fine")
    # Half of the unit would do: then twice the largest number fits, too.
    could = 2 * largest(x) / units <= MOST[digits]
    t.true(not (could & some).any(),
           f"{what}: in some group the largest integer is {most[some].min()}, so that half of the unit would do.\n"
           f"Wanted: the smallest power of two for which none is above {MOST[digits]}.",
           "one_for_all" if same_unit else "too_coarse")  # fmt: skip
    cut = error.max() > 0.5 + 1e-9
    t.true(not cut, f"{what}: some number is off by {error.max():.3f} units.\nWanted: at most half a unit.",
           "cut_off" if error.max() <= 1 else None)  # fmt: skip


def groups_of(x):
    return x.size // x.shape[-1]


def largest(x):
    return np.abs(x.astype(np.float64)).max(-1)


@to_integers.case("a group that you can follow")
def _(answer, t):
    # 1.5 * 64 = 96 is at most 127, and 1.5 * 128 is not: the unit is 2^-6. Likewise 2^-3 for 10.
    x = np.array([[1.5, -0.75, 0.02, 0.0], [-10.0, 0.3, 7.0, 1.0]], np.float32)
    check_integers(answer, t, x, 1)


@to_integers.case("one, two and three digits")
def _(answer, t):
    for digits in (1, 2, 3):
        check_integers(answer, t, t.rng.standard_normal((5, 32)), digits)


@to_integers.case("groups of very different size")
def _(answer, t):
    x = t.rng.standard_normal((8, 32)) * 10.0 ** np.arange(-12, 12, 3)[:, None]
    for digits in (1, 3):
        check_integers(answer, t, x, digits)


@to_integers.case("near the edge where the unit doubles")
def _(answer, t):
    for digits in (1, 2, 3):
        for factor in (0.98, 0.9999, 1.0, 1.0001, 1.02):
            x = t.rng.uniform(-0.9, 0.9, (1, 32))
            x[0, 7] = factor * MOST[digits] * 2.0**-20
            x[0, 8] = -x[0, 7]
            check_integers(answer, t, np.clip(x, -abs(x[0, 7]), abs(x[0, 7])), digits)


@to_integers.case("a group of zeros", errors={"zeros": r"(ValueError|ZeroDivisionError|FloatingPointError|OverflowError|RuntimeWarning).*"})
def _(answer, t):
    x = t.rng.standard_normal((3, 32))
    x[1] = 0
    with np.errstate(divide="ignore", invalid="ignore"):
        check_integers(answer, t, x, 3)


to_digits = Exercise(
    "fast_on_a_cpu.to_digits",
    "Whole numbers as bytes with a sign",
    name="to_digits",
    reference=techniques.to_digits,
    names=NAMES,
    mistakes={
        "low_first": "The lowest digit comes first. Wanted is the order in which numbers are written: the highest first.",
        "no_carry": "A digit from 128 to 255 does not fit a byte with a sign. It becomes 256 less, and the next higher digit one more: take the rest off before you divide.",
        "towards_zero": "Negative numbers come out wrong: `//` rounds down, `np.fix` and `int` towards zero. With the digit taken off first, the division has no rest, and both are the same.",
        "no_error": "An integer that does not fit is an error: raise ValueError when something is left after the last digit.",
    },
)


def by_python(integers, count, *, carry=True):
    """[count, ...], each integer for itself."""
    flat = []
    for value in np.array(integers).ravel().tolist():
        digits = []
        for _ in range(count):
            digit = value % 256
            value //= 256
            if digit > 127:
                digit -= 256
                value += carry
            digits.append(digit)
        flat.append(digits[::-1])
    return np.array(flat).T.reshape(count, *np.shape(integers))


def towards_zero(integers, count):
    rest, digits = np.array(integers).astype(np.int64), []
    for _ in range(count):
        digits.append((rest + 128) % 256 - 128)
        rest = np.fix((rest + 128) / 256).astype(np.int64)
    return np.stack(digits[::-1]).astype(np.int8)


def check_digits(answer, t, integers, count):
    integers = t.watch("integers", np.array(integers, np.int32))
    wanted = by_python(integers, count)
    mistakes = {
        "low_first": wanted[::-1],
        "no_carry": by_python(integers, count, carry=False),
        "towards_zero": towards_zero(integers, count),
    }
    shown = integers.tolist() if integers.size < 7 else f"integers {list(integers.shape)}"
    same_integers(
        t, f"to_digits({shown}, {count})", answer(integers, count), wanted, dtype=np.int8,
        mistakes={name: as_integers(value, np.int8) for name, value in mistakes.items()},
    )  # fmt: skip


@to_digits.case("small ones", errors={"no_carry": r"OverflowError.*|ValueError.*"})
def _(answer, t):
    check_digits(answer, t, [5, 261, 70000], 3)


@to_digits.case("digits that need a sign", errors={"no_carry": r"OverflowError.*|ValueError.*"})
def _(answer, t):
    check_digits(answer, t, [200, 33000, 65500], 3)


@to_digits.case("negative numbers")
def _(answer, t):
    check_digits(answer, t, [-1, -200, -33000, -8355711], 3)


@to_digits.case("arrays of any shape, one to three digits")
def _(answer, t):
    for count in (1, 2, 3):
        check_digits(answer, t, t.rng.integers(-MOST[count], MOST[count] + 1, (2, 5, 32)), count)


@to_digits.case("what does not fit is an error")
def _(answer, t):
    for integers, count in (([128], 1), ([-200, 3], 1), ([40000], 2), ([8_400_000], 3)):
        t.raises(ValueError, lambda i=integers, c=count: answer(np.array(i, np.int32), c), f"to_digits({integers}, {count})", mistake="no_error")


to_pairs = Exercise(
    "fast_on_a_cpu.to_pairs",
    "Three bytes as two numbers of 12 bits",
    name="to_pairs",
    reference=techniques.to_pairs,
    names=NAMES,
    stretch=True,
    mistakes={
        "order": "The parts are right, but not in order: [first, second number], and in each [high, low].",
        "low_unsigned": "The low parts go from 0 to 15. They are to go from -8 to 7, so that the largest sums stay small and both signs reach equally far.",
        "no_error": "An integer above 8,353,783 is an error: its highest part does not fit a byte. Raise ValueError.",
    },
)
PAIRS_MOST = 4097 * (16 * 127 + 7)


def check_pairs(answer, t, integers):
    integers = t.watch("integers", np.array(integers, np.int32))
    given = answer(integers)
    shape = [2, 2, *integers.shape]
    shown = integers.tolist() if integers.size < 7 else f"integers {list(integers.shape)}"
    what = f"to_pairs({shown})"
    is_bytes = isinstance(given, np.ndarray) and given.dtype == np.int8 and list(given.shape) == shape
    t.true(is_bytes, f"{what} is {type(given).__name__} {getattr(given, 'dtype', '')} {list(np.shape(given))}.\nWanted: a NumPy array {shape} int8.")
    wide = given.astype(np.int64)
    orders = {"right": wide, "numbers": wide[::-1], "parts": wide[:, ::-1], "both": wide[::-1, ::-1]}
    restored = {name: (w * np.array([16, 1])[:, None].reshape(2, *[1] * integers.ndim)).sum(1) for name, w in orders.items()}
    restored = {name: 4096 * numbers[0] + numbers[1] for name, numbers in restored.items()}
    right = np.array_equal(restored["right"], integers)
    place = "" if right else tuple(int(i[0]) for i in np.nonzero(restored["right"] != integers))
    t.true(right, f"{what}: at {place} the parts make {restored['right'][place] if not right else ''}.\nWanted: {integers[place] if not right else ''}.",
           "order" if any(np.array_equal(r, integers) for r in restored.values()) else None)  # fmt: skip
    low = wide[:, 1]
    fits = low.min(initial=0) >= -8 and low.max(initial=0) <= 7
    t.true(fits, f"{what}: the low parts go from {low.min()} to {low.max()}.\nWanted: from -8 to 7.", "low_unsigned" if low.min() >= 0 else None)


@to_pairs.case("small ones")
def _(answer, t):
    check_pairs(answer, t, [1, 21, 4096, 70000])


@to_pairs.case("both signs, and the largest")
def _(answer, t):
    check_pairs(answer, t, [8, -8, -9, 2047, -2049])
    check_pairs(answer, t, [PAIRS_MOST, -PAIRS_MOST])
    check_pairs(answer, t, t.rng.integers(-PAIRS_MOST, PAIRS_MOST + 1, (3, 32)))


@to_pairs.case("as products with 16 q and with q they make the same sum")
def _(answer, t):
    x = t.rng.integers(-PAIRS_MOST, PAIRS_MOST + 1, 32).astype(np.int32)
    q = t.rng.integers(0, 16, 32).astype(np.uint8)
    lines = np.concatenate([16 * q, q]).astype(np.int64)  # 64 bytes
    numbers = np.array(answer(x)).astype(np.int64).reshape(2, -1) @ lines
    t.equal("4096 * (first with [16 q, q]) + (second with [16 q, q])", int(4096 * numbers[0] + numbers[1]), int(x.astype(np.int64) @ q))


@to_pairs.case("what does not fit is an error")
def _(answer, t):
    for value in (PAIRS_MOST + 9, -8_430_000, 2**24):
        t.raises(ValueError, lambda v=value: answer(np.array([v], np.int32)), f"to_pairs([{value}])", mistake="no_error")
