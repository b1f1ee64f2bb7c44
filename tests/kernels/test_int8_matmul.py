"""int8_matmul against a float64 product of the rounded activations with the dequantized weight."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels.closeness import assert_close, same_bits
from kernels.test_quantized_matmul import BITS, DTYPES, GROUPS, activations, oracle, packed

from course_lib.kernels import int8_matmul, quantized_matmul, set_threads, threads


def rounded(x):
    """Groups of 32 features, each to whole multiples of a 127th of its largest; halves away from zero."""
    groups = np.array(x).reshape(-1, 32)
    most = np.abs(groups).max(axis=1, keepdims=True)
    inverse = np.divide(np.float32(127), most, out=np.zeros_like(most), where=most > 0)
    scaled = (groups * inverse).astype(np.float64)
    whole = np.copysign(np.floor(np.abs(scaled) + 0.5), scaled).astype(np.float32)
    return mx.array((whole * (most / np.float32(127))).reshape(x.shape))


def check(x, weight, group_size, bits):
    got = int8_matmul(x, *weight, group_size, bits)
    assert_close(got, *oracle(rounded(x), *weight, group_size, bits))


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**31), st.integers(1, 12), st.integers(1, 70), st.integers(1, 9), GROUPS, BITS, DTYPES)
def test_equals_the_product_with_rounded_activations(seed, M, N, groups, group_size, bits, dtype):
    K = groups * group_size
    check(activations(seed, M, K), packed(seed, N, K, group_size, bits, dtype), group_size, bits)


@pytest.mark.parametrize("M", [1, 4, 37])
@pytest.mark.parametrize(("N", "K"), [(576, 576), (192, 576), (576, 1536)])
def test_at_the_models_shapes(M, N, K):
    check(activations(0, M, K), packed(0, N, K, 32, 4, mx.float16), 32, 4)


@pytest.mark.parametrize(("K", "bits", "group_size"), [(576, 4, 32), (1536, 4, 64), (640, 8, 128), (64, 4, 32)])
def test_a_row_depends_on_itself_alone_to_the_last_bit(K, bits, group_size):
    weight = packed(5, 75, K, group_size, bits, mx.float16)
    x = activations(5, 39, K)
    whole = int8_matmul(x, *weight, group_size, bits)
    before = threads()
    try:
        for count in (1, 3):
            set_threads(count)
            for M in (1, 2, 4, 7):
                rows = [int8_matmul(x[i : i + M], *weight, group_size, bits) for i in range(0, 39, M)]
                assert same_bits(whole, mx.concatenate(rows)), (count, M)
    finally:
        set_threads(before)


def test_whole_multiples_of_the_unit_are_not_changed():
    x = mx.random.randint(-127, 128, (3, 128), key=mx.random.key(0)).astype(mx.float32)
    x[:, ::32] = 127
    weight = packed(7, 20, 128, 32, 4, mx.float32)
    got, want = int8_matmul(x, *weight, 32, 4), quantized_matmul(x, *weight, 32, 4)
    assert mx.allclose(got, want, rtol=1e-4, atol=1e-3).item()


def test_zeros_give_zeros():
    weight = packed(8, 20, 128, 32, 8, mx.float32)
    assert not mx.any(int8_matmul(mx.zeros((2, 128)), *weight, 32, 8)).item()
