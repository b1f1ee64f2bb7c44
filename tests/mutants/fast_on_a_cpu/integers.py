"""Wrong and right ways to make integers of floats, and bytes of integers."""

import math

import numpy as np

from course_lib.techniques import byte_products as reference

from .. import mutant, rival

INTEGERS, DIGITS, PAIRS = "fast_on_a_cpu.to_integers", "fast_on_a_cpu.to_digits", "fast_on_a_cpu.to_pairs"
MOST = {1: 127, 2: 127 * 257, 3: 127 * 65793}


def _rounded(x, units, rounding=np.rint):
    return rounding(x / units[..., None]).astype(np.int32), units


@mutant(INTEGERS, "no_power")
def largest_to_most(x, digits):
    largest = np.abs(x.astype(np.float64)).max(-1)
    return _rounded(x, np.where(largest > 0, largest / MOST[digits], 1.0))


@mutant(INTEGERS, "too_coarse")
def twice_the_unit(x, digits):
    return _rounded(x, 2 * reference.to_integers(x, digits)[1])


@mutant(INTEGERS, "too_coarse")
def power_above_the_largest(x, digits):
    largest = np.abs(x.astype(np.float64)).max(-1)
    power = 2.0 ** (np.floor(np.log2(np.where(largest > 0, largest, 1))) + 1)
    return _rounded(x, power / 2.0 ** (8 * digits - 2))


@mutant(INTEGERS, "too_fine")
def half_the_unit(x, digits):
    return _rounded(x, reference.to_integers(x, digits)[1] / 2)


@mutant(INTEGERS, "too_fine")
def fills_the_sign_bit(x, digits):
    largest = np.abs(x.astype(np.float64)).max(-1)
    return _rounded(x, 2.0 ** np.ceil(np.log2(np.where(largest > 0, largest, 1) / 2.0 ** (8 * digits - 1))))


@mutant(INTEGERS, "one_for_all")
def one_unit(x, digits):
    largest = max(np.abs(x.astype(np.float64)).max(), 1e-30)
    return _rounded(x, np.full(x.shape[:-1], 2.0 ** math.ceil(math.log2(largest / MOST[digits]))))


@mutant(INTEGERS, "one_for_all")
def one_number(x, digits):
    unit = 2.0 ** math.ceil(math.log2(np.abs(x).max() / MOST[digits]))
    return np.rint(x / unit).astype(np.int32), np.float64(unit)


@mutant(INTEGERS, "cut_off")
def cuts_off(x, digits):
    return _rounded(x, reference.to_integers(x, digits)[1], np.trunc)


@mutant(INTEGERS, "cut_off")
def rounds_down(x, digits):
    return _rounded(x, reference.to_integers(x, digits)[1], np.floor)


@mutant(INTEGERS, "zeros")
def divides_by_zero(x, digits):
    return _rounded(x, 2.0 ** np.ceil(np.log2(np.abs(x.astype(np.float64)).max(-1) / MOST[digits])))


@mutant(INTEGERS, "zeros")
def takes_logarithms_of_zero(x, digits):
    units = [2.0 ** math.ceil(math.log2(abs(row).max() / MOST[digits])) for row in x.reshape(-1, x.shape[-1]).astype(float)]
    return _rounded(x, np.array(units).reshape(x.shape[:-1]))


@mutant(INTEGERS, None)
def no_integers(x, digits):
    integers, units = reference.to_integers(x, digits)
    return integers.astype(np.float32), units


@mutant(INTEGERS, None)
def keeps_the_axis(x, digits):
    integers, units = reference.to_integers(x, digits)
    return integers, units[..., None]


@mutant(INTEGERS, None)
def no_units(x, digits):
    return reference.to_integers(x, digits)[0]


@mutant(INTEGERS, "too_fine")
def two_digits_where_one_is_asked(x, digits):
    return reference.to_integers(x, 2) if digits == 1 else reference.to_integers(x, digits)


@rival(INTEGERS)
def by_doubling(x, digits):
    groups = x.reshape(-1, x.shape[-1]).astype(np.float64)
    units = np.empty(len(groups), np.float32)
    for g, largest in enumerate(np.abs(groups).max(-1)):
        unit = 2.0**-126
        while largest / unit > MOST[digits]:
            unit *= 2
        units[g] = unit
    integers = np.rint(groups / units[:, None].astype(np.float64)).astype(np.int64)
    return integers.reshape(x.shape), units.reshape(x.shape[:-1])


@rival(INTEGERS)
def by_frexp(x, digits):
    mantissa, exponent = np.frexp(np.abs(x.astype(np.float64)).max(-1) / MOST[digits])
    units = np.ldexp(1.0, exponent - (mantissa == 0.5))
    return np.rint(x / units[..., None]).astype(np.int32), units


def _signed(rest):
    digit = (rest + 128) % 256 - 128
    return digit, (rest - digit) // 256


@mutant(DIGITS, "low_first")
def lowest_first(integers, count):
    return reference.to_digits(integers, count)[::-1]


@mutant(DIGITS, "no_carry")
def shifts_alone(integers, count):
    reference.to_digits(integers, count)
    rest = np.array(integers)
    return np.stack([rest >> 8 * place & 255 for place in reversed(range(count))]).astype(np.uint8).view(np.int8)


@mutant(DIGITS, "no_carry")
def bytes_in_memory(integers, count):
    reference.to_digits(integers, count)
    raw = np.ascontiguousarray(integers, dtype=">i4").view(np.int8).reshape(*integers.shape, 4)
    return np.moveaxis(raw, -1, 0)[-count:]


@mutant(DIGITS, "no_carry")
def remainder_with_sign(integers, count):
    reference.to_digits(integers, count)
    rest, digits = np.array(integers).astype(np.int64), []
    for _ in range(count):
        digits.append(np.fmod(rest, 256))
        rest = np.fix(rest / 256).astype(np.int64)
    return np.stack(digits[::-1]).astype(np.int8)


@mutant(DIGITS, "towards_zero")
def rounds_towards_zero(integers, count):
    reference.to_digits(integers, count)
    rest, digits = np.array(integers).astype(np.int64), []
    for _ in range(count):
        digits.append((rest + 128) % 256 - 128)
        rest = ((rest + 128) / 256).astype(np.int64)
    return np.stack(digits[::-1]).astype(np.int8)


@mutant(DIGITS, "no_error")
def forgets_the_rest(integers, count):
    rest, digits = np.array(integers).astype(np.int64), []
    for _ in range(count):
        digit, rest = _signed(rest)
        digits.append(digit)
    return np.stack(digits[::-1]).astype(np.int8)


@mutant(DIGITS, None)
def digits_last(integers, count):
    return np.moveaxis(reference.to_digits(integers, count), 0, -1)


@mutant(DIGITS, None)
def wide_digits(integers, count):
    return reference.to_digits(integers, count).astype(np.int32)


@mutant(DIGITS, None)
def base_128(integers, count):
    reference.to_digits(integers, count)
    rest, digits = np.array(integers).astype(np.int64), []
    for _ in range(count):
        digit = (rest + 64) % 128 - 64
        digits.append(digit)
        rest = (rest - digit) // 128
    return np.stack(digits[::-1]).astype(np.int8)


@rival(DIGITS)
def with_shifts(integers, count):
    rest, digits = np.array(integers), []
    for _ in range(count):
        digits.insert(0, rest.astype(np.int8))  # the lowest byte, as it is
        rest = rest - digits[0] >> 8
    if (rest != 0).any():
        raise ValueError("too large")
    return np.array(digits)


@rival(DIGITS)
def highest_first(integers, count):
    rest, digits = np.array(integers).astype(np.int64), []
    for place in reversed(range(count)):
        half = 128 * sum(256**p for p in range(place))
        digit = (rest + half) // 256**place
        digits.append(digit)
        rest = rest - digit * 256**place
    made = np.stack(digits)
    if made.min() < -128 or made.max() > 127:
        raise ValueError(f"the highest digit would be {made.max()}")
    return made.astype(np.int8)


@mutant(PAIRS, "order")
def second_first(integers):
    return reference.to_pairs(integers)[::-1]


@mutant(PAIRS, "order")
def low_before_high(integers):
    return reference.to_pairs(integers)[:, ::-1]


@mutant(PAIRS, "low_unsigned")
def low_without_sign(integers):
    reference.to_pairs(integers)
    rest = integers.astype(np.int64)
    second = (rest + 2048) % 4096 - 2048
    first = (rest - second) // 4096
    return np.stack([np.stack([n // 16, n % 16]) for n in (first, second)]).astype(np.int8)


@mutant(PAIRS, "no_error")
def wraps_around(integers):
    rest, parts = integers.astype(np.int64), []
    for base in (16, 256, 16):
        part = (rest + base // 2) % base - base // 2
        parts.append(part)
        rest = (rest - part) // base
    return np.stack([np.stack([rest, parts[2]]), np.stack([parts[1], parts[0]])]).astype(np.int8)


@mutant(PAIRS, None)
def second_without_sign(integers):
    reference.to_pairs(integers)
    first, second = integers // 4096, integers % 4096
    return np.stack([np.stack([(n + 8) // 16, (n + 8) % 16 - 8]) for n in (first, second)]).astype(np.int8)


@mutant(PAIRS, None)
def as_integers(integers):
    return reference.to_pairs(integers).astype(np.int32)


@rival(PAIRS)
def number_by_number(integers):
    if np.abs(integers).max() > 8_353_783:
        raise ValueError("at most 8353783")
    wide = integers.astype(np.int64)
    first = (wide + 2056) >> 12
    second = wide - (first << 12)
    parts = [[(n + 8) >> 4, n - ((n + 8) >> 4 << 4)] for n in (first, second)]
    return np.array(parts).astype(np.int8)
