"""The quantization reference against MLX's own, and the definition."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.techniques.quantization import (
    BITS,
    dequantize,
    pack,
    quantize,
    quantize_clipped,
    quantized_matmul,
    unpack,
)

shapes = st.tuples(st.integers(1, 5), st.integers(1, 4), st.sampled_from(BITS), st.sampled_from([32, 64, 128]))
seeds = st.integers(0, 2**31)


def weights(seed, N, K, scale=1.0, offset=0.0):
    return mx.array((np.random.default_rng(seed).standard_t(3, (N, K)) * scale + offset).astype(np.float32))


@given(shapes, seeds)
@settings(max_examples=60, deadline=None)
def test_packing_is_mlxs_and_reversible(shape, seed):
    N, G, bits, group_size = shape
    words, scales, biases = mx.quantize(weights(seed, N, G * group_size), group_size, bits)
    q = unpack(words, bits)
    assert q.dtype == mx.uint8 and q.shape == (N, G * group_size) and q.max().item() < 2**bits
    assert mx.array_equal(pack(q, bits), words)
    assert mx.array_equal(dequantize(words, scales, biases, group_size, bits), mx.dequantize(words, scales, biases, group_size, bits))


@given(shapes, seeds)
@settings(max_examples=60, deadline=None)
def test_through_zero_it_equals_mlxs(shape, seed):
    N, G, bits, group_size = shape
    w = weights(seed, N, G * group_size)
    for ours, mlx in zip(quantize(w, group_size, bits, exact_zero=True), mx.quantize(w, group_size, bits), strict=True):
        assert mx.array_equal(ours, mlx)


@given(shapes, seeds, st.sampled_from([1e-6, 1.0, 1e6]), st.sampled_from([0.0, 5.0, -5.0]))
@settings(max_examples=80, deadline=None)
def test_no_weight_is_off_by_more_than_half_a_step(shape, seed, scale, offset):
    N, G, bits, group_size = shape
    w = weights(seed, N, G * group_size, scale, offset * scale)
    packed, scales, biases = quantize(w, group_size, bits)
    error = mx.abs(dequantize(packed, scales, biases, group_size, bits) - w).reshape(N, G, group_size)
    rounding = 1e-6 * mx.abs(w).reshape(N, G, group_size).max(axis=-1)
    assert mx.all(error <= (0.5 * scales + rounding)[..., None]).item()


@pytest.mark.parametrize("make", [quantize, quantize_clipped])
@pytest.mark.parametrize("value", [0.0, 2.5, -1e-3])
def test_groups_of_equal_weights_stay_what_they_are(make, value):
    w = mx.full((2, 64), value)
    assert mx.array_equal(dequantize(*make(w, 32, 4), 32, 4), w)


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_scales_have_the_weights_dtype(dtype):
    packed, scales, biases = quantize(weights(0, 4, 64).astype(dtype), 32, 4)
    assert (packed.dtype, scales.dtype, biases.dtype) == (mx.uint32, dtype, dtype)


@given(st.integers(0, 40), shapes, seeds)
@settings(max_examples=60, deadline=None)
def test_the_product_equals_dequantizing_first(M, shape, seed):
    N, G, bits, group_size = shape
    K = G * group_size
    arrays = mx.quantize(weights(seed, N, K), group_size, bits)
    x = mx.array(np.random.default_rng(seed + 1).standard_normal((M, K)).astype(np.float32))
    y = quantized_matmul(x, *arrays, group_size, bits)
    w = np.array(mx.dequantize(*arrays, group_size, bits)).astype(np.float64)
    wanted = np.array(x).astype(np.float64).reshape(M, K) @ w.T
    assert y.shape == (M, N) and y.dtype == mx.float32
    bound = 1e-5 * (np.abs(np.array(x).reshape(M, K)) @ np.abs(w).T + 1) + 1e-5 * np.abs(wanted)
    assert np.all(np.abs(np.array(y) - wanted) <= 4 * bound)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_clipping_makes_no_group_worse(bits):
    w = weights(7, 32, 192)
    errors = [mx.square(dequantize(*make(w, 64, bits), 64, bits) - w).reshape(32, 3, 64).sum(-1) for make in (quantize, quantize_clipped)]
    assert mx.all(errors[1] <= errors[0] * 1.0001 + 1e-6).item()
    assert errors[1].sum() < errors[0].sum()


def test_bad_input_is_refused_with_what_was_given_and_wanted():
    w = weights(0, 4, 96)
    with pytest.raises(ValueError, match="bits is 5; wanted one of 2, 3, 4, 6, 8"):
        quantize(w, 32, 5)
    with pytest.raises(ValueError, match=r"w is \[4, 96\]; wanted \[N, K\] with K a multiple of group_size 64"):
        quantize(w, 64, 4)
    with pytest.raises(ValueError, match=r"w is \[4, 96\]"):
        quantize_clipped(w, 64, 4)
    with pytest.raises(ValueError, match="12 integers of 4 bits are 48 bits; wanted a multiple of 32"):
        pack(mx.zeros((1, 12), mx.uint8), 4)
    with pytest.raises(ValueError, match="1 words are 32 bits; wanted a multiple of 3"):
        unpack(mx.zeros((1, 1), mx.uint32), 3)
    packed, scales, biases = quantize(w, 32, 4)
    with pytest.raises(ValueError, match=r"packed is \[4, 12\], .* wanted packed \[4, 24\]"):
        dequantize(packed, scales, biases, 64, 4)
    with pytest.raises(ValueError, match=r"x is \[2, 64\] and the matrix has 96 columns"):
        quantized_matmul(mx.zeros((2, 64)), packed, scales, biases, 32, 4)
