"""Products of bytes against float64, and against what the course's kernels make of the same numbers."""

from fractions import Fraction

import numpy as np
import pytest

from course_lib.techniques.byte_products import (
    lay_out,
    multiply_by_bytes,
    multiply_panel,
    predict_step,
    to_digits,
    to_integers,
    to_pairs,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_a_panel_multiplied_is_the_matrix_multiplied(rng):
    q, x = rng.integers(0, 16, (37, 576)).astype(np.uint8), rng.integers(-128, 128, 576).astype(np.int8)
    panels = lay_out(q)
    assert panels.shape == (3, 72, 64)
    y = np.concatenate([multiply_panel(panel, x) for panel in panels])
    assert np.array_equal(y[:37], q.astype(int) @ x.astype(int))
    assert not y[37:].any()


@pytest.mark.parametrize("digits", [1, 2, 3])
def test_integers_are_within_half_a_unit_and_fit_their_digits(rng, digits):
    x = (rng.standard_normal((50, 32)) * 10.0 ** rng.integers(-20, 20, (50, 1))).astype(np.float32)
    x[7] = 0
    integers, units = to_integers(x, digits)
    most = 127 * (256**digits - 1) // 255
    for row, of_row, unit in zip(x, integers, units, strict=True):
        unit = Fraction(float(unit))
        assert all(abs(Fraction(float(v)) - int(i) * unit) <= unit / 2 for v, i in zip(row, of_row, strict=True))
        assert abs(of_row).max() <= most
        assert not row.any() or max(abs(Fraction(float(v))) for v in row) / (unit / 2) > most
    made = to_digits(integers, digits).astype(np.int64)
    assert np.array_equal(sum(256**place * made[digits - 1 - place] for place in range(digits)), integers)


def test_three_digits_are_as_good_as_floats_and_one_is_not(rng):
    x, q = rng.standard_normal(576).astype(np.float32), rng.integers(0, 16, (300, 576)).astype(np.uint8)
    scales = rng.uniform(0.01, 0.1, (300, 18)).astype(np.float32)
    biases = -8 * scales
    w = np.repeat(scales.astype(float), 32, 1) * q + np.repeat(biases.astype(float), 32, 1)
    exact = w @ x
    size = np.sqrt((exact**2).mean())
    error = {d: np.abs(multiply_by_bytes(x, q, scales, biases, d) - exact).max() / size for d in (1, 2, 3)}
    assert error[3] < 2e-6 < 2e-5 < error[2] < 5e-4 < 2e-3 < error[1] < 0.1


def test_the_order_of_columns_in_a_group_changes_no_bit(rng):
    x, q = rng.standard_normal(256).astype(np.float32), rng.integers(0, 16, (64, 256)).astype(np.uint8)
    scales, biases = (rng.standard_normal((64, 8)).astype(np.float32) for _ in range(2))
    order = np.concatenate([g + rng.permutation(32) for g in range(0, 256, 32)])
    assert np.array_equal(
        multiply_by_bytes(x, q, scales, biases), multiply_by_bytes(x[order], q[:, order], scales, biases)
    )


def test_pairs_make_the_same_sum_with_sixteen_times_the_weights(rng):
    most = 4097 * (16 * 127 + 7)
    x, q = rng.integers(-most, most + 1, 32), rng.integers(0, 16, 32)
    first, second = to_pairs(x).astype(np.int64).reshape(2, 64) @ np.concatenate([16 * q, q])
    assert 4096 * first + second == x @ q


def test_a_step_is_reading_or_multiplying_and_overhead_on_top():
    machine = {"bandwidth": 1e9, "rate": 1e10, "overhead": 1e-6}
    assert predict_step(1, 10**8, 6e7, 100, **machine) == pytest.approx(0.06 + 1e-4)
    assert predict_step(64, 10**8, 6e7, 100, **machine) == pytest.approx(0.64 + 1e-4)


def test_bad_input_is_refused_with_what_was_given_and_wanted():
    with pytest.raises(ValueError, match="36 columns; wanted a multiple of 8"):
        lay_out(np.zeros((16, 36), np.uint8))
    with pytest.raises(ValueError, match="up to 200 do not fit 1 digits"):
        to_digits(np.array([200, -3]), 1)
    with pytest.raises(ValueError, match="up to 8353784; wanted at most 8353783"):
        to_pairs(np.array([-8353784]))
