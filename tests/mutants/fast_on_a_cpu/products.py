"""Wrong and right ways to multiply by products of bytes."""

import numpy as np

from course_lib.techniques import byte_products as reference

from .. import mutant, rival

MULTIPLY = "fast_on_a_cpu.multiply_by_bytes"


def _parts(x, q, digits):
    """Integers [G, 32], units [G], digits [D, G, 32] and the weights' integers [N, G, 32]."""
    integers, units = reference.to_integers(x.reshape(-1, 32), digits)
    bytes_of_x = reference.to_digits(integers, digits).astype(np.int64)
    return integers.astype(np.int64), units, bytes_of_x, q.reshape(len(q), -1, 32).astype(np.int64)


def _based(bytes_of_x, bytes_of_w, base=256):
    sums = 0
    for digit in bytes_of_x:
        sums = base * sums + (bytes_of_w * digit).sum(-1)
    return sums


@mutant(MULTIPLY, "no_bias")
def no_bias(x, q, scales, biases, digits=3):
    return reference.multiply_by_bytes(x, q, scales, np.zeros_like(biases), digits)


@mutant(MULTIPLY, "no_unit")
def counts_units(x, q, scales, biases, digits=3):
    integers, units, of_x, of_w = _parts(x, q, digits)
    return (scales * _based(of_x, of_w) + biases * integers.sum(-1)).sum(-1).astype(np.float32)


@mutant(MULTIPLY, "no_base")
def adds_digits(x, q, scales, biases, digits=3):
    integers, units, of_x, of_w = _parts(x, q, digits)
    sums = _based(of_x, of_w, base=1)
    return (scales * units * sums + biases * units * integers.sum(-1)).sum(-1).astype(np.float32)


@mutant(MULTIPLY, "digits_ignored")
def always_three(x, q, scales, biases, digits=3):
    return reference.multiply_by_bytes(x, q, scales, biases, 3)


@mutant(MULTIPLY, "digits_ignored")
def in_float64(x, q, scales, biases, digits=3):
    w = np.repeat(scales.astype(np.float64), 32, 1) * q + np.repeat(biases.astype(np.float64), 32, 1)
    return (w @ x.astype(np.float64)).astype(np.float32)


@mutant(MULTIPLY, "order")
def rounded_but_in_floats(x, q, scales, biases, digits=3):
    integers, units, _, of_w = _parts(x, q, digits)
    rounded = (integers * units[:, None]).astype(np.float32).reshape(-1)
    w = np.repeat(scales, 32, 1) * q + np.repeat(biases, 32, 1)
    return (w * rounded).cumsum(-1)[:, -1].astype(np.float32)


@mutant(MULTIPLY, "order")
def sum_of_x_in_floats(x, q, scales, biases, digits=3):
    integers, units, of_x, of_w = _parts(x, q, digits)
    rounded = (integers * units[:, None]).astype(np.float32)
    sum_of_x = rounded.cumsum(-1, dtype=np.float32)[:, -1]
    return (scales * (units * _based(of_x, of_w)) + biases * sum_of_x).sum(-1).astype(np.float32)


@mutant(MULTIPLY, "narrow")
def products_of_8_bits(x, q, scales, biases, digits=3):
    integers, units, of_x, of_w = _parts(x, q, digits)
    sums = 0
    for digit in of_x:
        sums = 256 * sums + (of_w.astype(np.int8) * digit.astype(np.int8)).sum(-1)
    return (scales * (units * sums) + biases * (units * integers.sum(-1))).sum(-1).astype(np.float32)


@mutant(MULTIPLY, "dtype")
def doubles(x, q, scales, biases, digits=3):
    return reference.multiply_by_bytes(x, q, scales, biases, digits).astype(np.float64)


@mutant(MULTIPLY, None)
def first_groups_unit(x, q, scales, biases, digits=3):
    integers, units, of_x, of_w = _parts(x, q, digits)
    sums = _based(of_x, of_w)
    return (units[0] * (scales * sums + biases * integers.sum(-1))).sum(-1).astype(np.float32)


@mutant(MULTIPLY, None)
def digits_reversed(x, q, scales, biases, digits=3):
    integers, units, of_x, of_w = _parts(x, q, digits)
    sums = _based(of_x[::-1], of_w)
    return (scales * units * sums + biases * units * integers.sum(-1)).sum(-1).astype(np.float32)


@mutant(MULTIPLY, None)
def in_half_precision(x, q, scales, biases, digits=3):
    return reference.multiply_by_bytes(x, q, scales, biases, digits).astype(np.float16).astype(np.float32)


@rival(MULTIPLY)
def group_by_group(x, q, scales, biases, digits=3):
    y = np.zeros(len(q), np.float32)
    for g in range(scales.shape[1]):
        here = slice(32 * g, 32 * g + 32)
        integers, unit = reference.to_integers(x[here], digits)
        rows = reference.to_digits(integers, digits).astype(np.int32)
        parts = rows @ q[:, here].T.astype(np.int32)  # [digits, N]
        whole = parts[0].astype(np.float64)
        for part in parts[1:]:
            whole = whole * 256 + part
        y += scales[:, g] * np.float32(unit) * whole.astype(np.float32) + biases[:, g] * np.float32(unit * integers.sum())
    return y


@rival(MULTIPLY)
def integers_whole(x, q, scales, biases, digits=3):
    """Without digits: the same numbers, for they are exact either way."""
    integers, units, _, of_w = _parts(x, q, digits)
    sums = np.einsum("ngk,gk->ng", of_w, integers)
    return ((scales * sums + biases * integers.sum(-1)) @ units).astype(np.float32)
