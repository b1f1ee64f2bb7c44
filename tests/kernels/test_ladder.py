"""Every rung of quantized matmul against the definition, over shapes that are multiples of nothing."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from course_lib.kernels.loaded import LoadedQuantizedMatmul

RUNGS = ("scalar", "vectors", "threads", "tiles")


@given(
    M=st.integers(0, 200), N=st.integers(1, 70), groups=st.integers(1, 9), group_size=st.sampled_from([32, 64, 128]),
    bits=st.sampled_from([4, 8]), dtype=st.sampled_from([mx.float16, mx.bfloat16, mx.float32]), seed=st.integers(0, 2**31),
)  # fmt: skip
@example(M=1, N=68, groups=9, group_size=64, bits=4, dtype=mx.float16, seed=405)
@example(M=0, N=1, groups=1, group_size=32, bits=4, dtype=mx.float32, seed=0)
@example(M=200, N=67, groups=9, group_size=64, bits=8, dtype=mx.float16, seed=1)
@settings(max_examples=40, deadline=None)
@pytest.mark.parametrize("rung", RUNGS)
def test_a_rung_equals_dequantize_and_matmul(rung, M, N, groups, group_size, bits, dtype, seed):
    random = np.random.default_rng(seed)
    w = random.standard_t(3, (N, groups * group_size)).astype(np.float32)
    w[0] = 0  # groups of zeros, of equal weights, and of large ones
    w[-1] = 0.25
    w[N // 2] = np.clip(1e3 * w[N // 2], -6e4, 6e4)  # no more than float16 holds
    packed, scales, biases = mx.quantize(mx.array(w).astype(dtype), group_size, bits)
    x = random.standard_normal((M, groups * group_size)).astype(np.float32)
    y = LoadedQuantizedMatmul(None, rung)(mx.array(x).reshape(M, groups * group_size), packed, scales, biases, group_size, bits)
    wide = [a.astype(mx.float32) for a in (scales, biases)]
    exact = np.array(mx.dequantize(packed, *wide, group_size, bits)).astype(np.float64)
    assert y.shape == (M, N)
    # A weight is a difference of two larger numbers, scale * q and bias: their rounding counts as well.
    size = np.abs(x) @ (np.abs(exact) + 2 * np.repeat(np.abs(np.array(wide[1])), group_size, axis=1)).T
    assert np.all(np.abs(np.array(y) - x.astype(np.float64) @ exact.T) <= 1e-30 + 12 * 2**-23 * size)


@pytest.mark.parametrize("rung", RUNGS)
def test_inputs_need_not_be_contiguous(rung):
    w = mx.quantize(mx.random.normal((9, 192)), 32, 4)
    x = mx.random.normal((2, 192, 5))
    kernel = LoadedQuantizedMatmul(None, rung)
    wanted = x.swapaxes(1, 2) @ mx.dequantize(*w, 32, 4).T
    assert mx.allclose(kernel(x.swapaxes(1, 2), *w, 32, 4), wanted, atol=1e-4)
    assert mx.allclose(kernel(x.swapaxes(1, 2)[:, ::2], *w, 32, 4), wanted[:, ::2], atol=1e-4)
