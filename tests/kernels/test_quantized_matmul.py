"""quantized_matmul against MLX's dequantize and a float64 product."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels.closeness import assert_close, float64, same_bits

from course_lib.kernels import quantized_matmul, set_threads, threads

BITS = st.sampled_from([4, 8])
GROUPS = st.sampled_from([32, 64, 128])
DTYPES = st.sampled_from([mx.float16, mx.bfloat16, mx.float32])


def packed(seed, N, K, group_size, bits, dtype):
    """A random weight, quantized by MLX, with scales of a dtype. Some groups are zero, some constant."""
    random = np.random.default_rng(seed)
    weight = random.standard_t(4, (N, K // group_size, group_size)).astype(np.float32) / 20
    weight[random.random(weight.shape[:2]) < 0.1] = 0
    weight[random.random(weight.shape[:2]) < 0.1] = 0.37
    w, scales, biases = mx.quantize(mx.array(weight.reshape(N, K)), group_size, bits)
    return w, scales.astype(dtype), biases.astype(dtype)


def activations(seed, *shape):
    random = np.random.default_rng(seed + 1)
    outliers = np.where(random.random(shape) < 0.02, 30.0, 1.0)
    return mx.array((random.standard_normal(shape) * outliers).astype(np.float32))


def oracle(x, w, scales, biases, group_size, bits):
    """The product and the size of what was summed, both in float64."""
    wide = [a.astype(mx.float32) for a in (scales, biases)]
    weight = float64(mx.dequantize(w, *wide, group_size, bits))
    offset = np.repeat(np.abs(float64(biases)), group_size, axis=1)
    x = float64(x)
    return x @ weight.T, np.abs(x) @ (np.abs(weight) + offset).T


def check(x, weight, group_size, bits):
    assert_close(quantized_matmul(x, *weight, group_size, bits), *oracle(x, *weight, group_size, bits))


@settings(deadline=None, max_examples=120)
@given(
    st.integers(0, 2**31), st.integers(1, 60), st.integers(1, 100), st.integers(1, 9), GROUPS, BITS, DTYPES
)
def test_equals_the_product_with_the_dequantized_weight(seed, M, N, groups, group_size, bits, dtype):
    K = groups * group_size
    check(activations(seed, M, K), packed(seed, N, K, group_size, bits, dtype), group_size, bits)


@pytest.mark.parametrize("M", [1, 8, 37, 200])
@pytest.mark.parametrize(("N", "K"), [(576, 576), (192, 576), (1536, 576), (576, 1536)])
def test_at_the_models_shapes(M, N, K):
    check(activations(0, M, K), packed(0, N, K, 32, 4, mx.float16), 32, 4)


@pytest.mark.parametrize("shape", [(64,), (0, 64), (3, 0, 64), (2, 1, 5, 64)])
def test_any_number_of_leading_axes_also_of_size_zero(shape):
    weight = packed(1, 10, 64, 32, 4, mx.float32)
    out = quantized_matmul(activations(1, *shape), *weight, 32, 4)
    assert out.shape == (*shape[:-1], 10)
    check(activations(1, *shape), weight, 32, 4)


@pytest.mark.parametrize("size", [1e-25, 1e-5, 1e30])
@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float32])
def test_tiny_and_huge_weights(size, dtype):
    # mx.quantize itself makes nothing smaller than 1e-7.
    w, scales, biases = packed(2, 20, 256, 64, 8, mx.float32)
    weight = w, (scales * size).astype(dtype), (biases * size).astype(dtype)
    check(activations(2, 5, 256), weight, 64, 8)
    assert mx.abs(quantized_matmul(activations(2, 5, 256), *weight, 64, 8)).max().item() > size


def test_halves_too_small_to_be_normal_keep_their_value():
    w, scales, biases = packed(3, 8, 64, 32, 4, mx.float32)
    tiny = mx.full(scales.shape, 3e-7), mx.full(scales.shape, -6e-8)
    narrow = [a.astype(mx.float16) for a in tiny]
    assert narrow[0].max().item() > 0
    check(activations(3, 4, 64), (w, *narrow), 32, 4)


def test_infinite_and_nan_activations_reach_their_row_alone():
    weight = packed(4, 12, 128, 32, 4, mx.float16)
    x = activations(4, 3, 128)
    x[1, 7] = float("nan")
    out = quantized_matmul(x, *weight, 32, 4)
    assert mx.isnan(out[1]).all().item()
    assert same_bits(out[::2], quantized_matmul(x[::2], *weight, 32, 4))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("K", [32, 96, 576, 1536])
def test_a_row_is_the_same_to_the_last_bit_whatever_shares_its_batch(bits, K):
    weight = packed(5, 130, K, 32, bits, mx.float16)
    x = activations(5, 70, K)
    together = quantized_matmul(x, *weight, 32, bits)
    for rows in (slice(0, 1), slice(69, 70), slice(3, 5), slice(10, 18), slice(0, 37)):
        assert same_bits(quantized_matmul(x[rows], *weight, 32, bits), together[rows])


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 2**31), st.integers(2, 50), st.integers(1, 80), st.integers(1, 6), GROUPS, BITS, DTYPES, st.data())
def test_any_rows_are_the_same_to_the_last_bit_alone(seed, M, N, groups, group_size, bits, dtype, data):
    weight = packed(seed, N, groups * group_size, group_size, bits, dtype)
    x = activations(seed, M, groups * group_size)
    begin = data.draw(st.integers(0, M - 1))
    rows = slice(begin, data.draw(st.integers(begin + 1, M)))
    together = quantized_matmul(x, *weight, group_size, bits)
    assert same_bits(quantized_matmul(x[rows], *weight, group_size, bits), together[rows])


def test_operations_on_several_streams_at_once_do_not_disturb_each_other():
    weight = packed(11, 300, 576, 32, 4, mx.float16)
    x = activations(11, 3, 20, 576)
    expected = [quantized_matmul(x[i], *weight, 32, 4) for i in range(3)]
    mx.eval(x, weight, expected)
    streams = [mx.new_stream(mx.cpu) for _ in range(3)]
    for _ in range(20):
        outs = [quantized_matmul(x[i], *weight, 32, 4, stream=streams[i]) for i in range(3)]
        mx.eval(outs)
        assert all(same_bits(out, want) for out, want in zip(outs, expected, strict=True))


def test_the_number_of_threads_changes_nothing():
    weight, before = packed(6, 700, 576, 32, 4, mx.float16), threads()
    x = activations(6, 9, 576)
    try:
        results = []
        for count in (1, 2, 5):
            set_threads(count)
            results.append([quantized_matmul(x[:m], *weight, 32, 4) for m in (1, 9)])
            mx.eval(results[-1])
    finally:
        set_threads(before)
    assert all(same_bits(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


def test_inputs_need_not_be_contiguous():
    w, scales, biases = packed(7, 30, 256, 64, 4, mx.float32)
    x = activations(7, 256, 6, 4)
    plain = quantized_matmul(mx.contiguous(x.transpose(2, 1, 0)), w, scales, biases, 64, 4)
    assert same_bits(quantized_matmul(x.transpose(2, 1, 0), w, scales, biases, 64, 4), plain)
    rows = activations(8, 4, 6, 512)[..., 100:356]
    expected = quantized_matmul(mx.contiguous(rows), w, scales, biases, 64, 4)
    assert same_bits(quantized_matmul(rows, w, scales, biases, 64, 4), expected)
    strided = [mx.concatenate([a, a], axis=1)[:, : a.shape[1]] for a in (w, scales, biases)]
    assert same_bits(quantized_matmul(rows, *strided, 64, 4), expected)
    one = mx.broadcast_to(activations(9, 256), (3, 5, 256))
    assert same_bits(quantized_matmul(one, w, scales, biases, 64, 4)[2, 4], quantized_matmul(one[0, 0], w, scales, biases, 64, 4))


def test_inputs_are_left_as_they_were():
    weight = packed(10, 40, 128, 32, 4, mx.float16)
    x = activations(10, 5, 128)
    copies = [np.array(a) for a in (x, *weight)]
    mx.eval(quantized_matmul(x, *weight, 32, 4))
    assert all((np.array(a) == copy).all() for a, copy in zip((x, *weight), copies, strict=True))


X = mx.zeros((2, 128))
W, SCALES, BIASES = mx.zeros((6, 16), mx.uint32), mx.zeros((6, 4)), mx.zeros((6, 4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X.astype(mx.float16), W, SCALES, BIASES, 32, 4), r"x is float16 \[2, 128\]; wanted float32"),
        ((mx.array(1.0), W, SCALES, BIASES, 32, 4), r"single number; wanted \[..., K\]"),
        ((X, W, SCALES, BIASES, 32, 3), "bits is 3; wanted 4 or 8"),
        ((X, W, SCALES, BIASES, 16, 4), "group_size is 16; wanted 32, 64 or 128"),
        ((X[:, :100], W, SCALES, BIASES, 32, 4), "K = 100; wanted a multiple of the group_size 32"),
        ((X, W.astype(mx.int32), SCALES, BIASES, 32, 4), r"w is int32 \[6, 16\]; wanted uint32"),
        ((X, W[:, :15], SCALES, BIASES, 32, 4), r"w is uint32 \[6, 15\].*wanted w \[N, 16\]"),
        ((X, W, SCALES, BIASES, 32, 8), r"wanted w \[N, 32\], 4 weights of 8 bits"),
        ((X, W, SCALES, BIASES, 64, 4), r"scales are float32 \[6, 4\].*wanted \[6, 2\]"),
        ((X, W, SCALES, BIASES[:5], 32, 4), r"biases float32 \[5, 4\]; wanted \[6, 4\]"),
        ((X, W, SCALES, BIASES.astype(mx.float16), 32, 4), "biases are float16 .*wanted the scales' dtype"),
        ((X, W, SCALES.astype(mx.int32), BIASES, 32, 4), "scales is int32 .*wanted float16, bfloat16 or float32"),
    ],
)
def test_bad_input_is_refused_with_what_was_given_and_wanted(arguments, message):
    with pytest.raises(ValueError, match=f"quantized_matmul: .*{message}"):
        quantized_matmul(*arguments)


def test_a_gpu_is_refused():
    with pytest.raises(ValueError, match=r"quantized_matmul: this kernel runs on the CPU.*stream=mx\.cpu"):
        quantized_matmul(X, W, SCALES, BIASES, 32, 4, stream=mx.gpu)
