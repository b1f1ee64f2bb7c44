"""The rungs of quantized matmul in Metal: right for every shape, clean in the sanitizer and in strict mode."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib import kernels
from course_lib.classroom.exercises.quantization_gpu.problems import EPSILON, problem, random_matrix, random_tokens, tolerance
from course_lib.kernels.build import built
from course_lib.kernels.metal import kernels_in
from course_lib.kernels.metal_mlx import MlxQuantizedMatmul
from course_lib.kernels.metal_quantized_matmul import BITS, DTYPES, GROUP_SIZES, KERNELS, RUNGS, MetalQuantizedMatmul
from course_lib.paths import EXTENSIONS

each_rung = pytest.mark.parametrize("rung", RUNGS)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d).removeprefix("mlx.core."))


def by_mlx(x, w):
    """mx.quantized_matmul in float32: [M, N] as float64."""
    arrays = [a.astype(mx.float32) for a in (w.scales, w.biases)]
    return wide(mx.quantized_matmul(x.astype(mx.float32), w.words, *arrays, True, w.group_size, w.bits))


def wide(a):
    return np.array(a.astype(mx.float32)).astype(np.float64)


def allowed(x, w):
    return tolerance(wide(x), w, EPSILON[x.dtype])


def arguments(x, w):
    return x, w.words, w.scales, w.biases, w.group_size, w.bits


@each_rung
@each_dtype
@settings(max_examples=12)
@given(data=st.data())
def test_any_shape_is_mlxs_and_clean(rung, dtype, data):
    group_size, bits = data.draw(st.sampled_from(GROUP_SIZES), "group size"), data.draw(st.sampled_from(BITS), "bits")
    M = data.draw(st.integers(1, {"tiles": 40, "few_tokens": 11}.get(rung, 4)), "M")
    N, K = data.draw(st.integers(1, 40), "N"), group_size * data.draw(st.integers(1, 384 // group_size), "groups")
    w, x = random_matrix(N, K, group_size, bits, dtype, seed=M), random_tokens(M, K, dtype, seed=N)
    (seen,) = MetalQuantizedMatmul(rung).inspect(*arguments(x, w))
    assert not seen.findings, "\n".join(map(str, seen.findings))
    assert (np.abs(wide(seen.outputs[0]) - by_mlx(x, w)) <= allowed(x, w)).all()
    assert seen.outputs[0].dtype == dtype


@each_rung
def test_the_order_of_threads_does_not_matter(rung):
    w, x = random_matrix(37, 192, 64, 4, mx.float16), random_tokens(3, 192, mx.float16)
    kernel = MetalQuantizedMatmul(rung, device="emulator")
    first = kernel(*arguments(x, w))
    for order, seed in (("reverse", 0), ("shuffle", 1), ("shuffle", 2)):
        assert mx.array_equal(kernel(*arguments(x, w), order=order, seed=seed), first)


@each_rung
@each_dtype
def test_metals_compiler_would_take_it(rung, dtype):
    pytest.importorskip("ziglang")
    w, x = random_matrix(5, 128, 64, 8, dtype), random_tokens(2, 128, dtype)
    MetalQuantizedMatmul(rung).check_types(*arguments(x, w))


@each_rung
def test_slices_transposes_and_leading_dimensions(rung):
    w = random_matrix(6, 64, 32, 4, mx.float32)
    kernel = MetalQuantizedMatmul(rung)
    whole = random_tokens(64, 10, mx.float32)
    for x in (whole.T, whole.T[1::3], random_tokens(5, 96, mx.float32)[:, 32:], whole.T.reshape(2, 5, 64)):
        given = kernel(*arguments(x, w))
        flat = x.reshape(-1, 64)
        assert given.shape == (*x.shape[:-1], 6)
        assert (np.abs(wide(given.reshape(-1, 6)) - by_mlx(flat, w)) <= allowed(flat, w)).all()
    x = whole.T[0]
    assert kernel(*arguments(x, w)).shape == (6,)
    assert kernel(*arguments(mx.zeros((0, 64)), w)).shape == (0, 6)


@pytest.mark.skipif(built() is None, reason="the native kernels are not built")
@each_rung
def test_the_cpp_reference_says_the_same(rung):
    for M, N, K, group_size, bits in ((1, 33, 288, 32, 4), (37, 40, 256, 128, 8)):
        w, x = random_matrix(N, K, group_size, bits, mx.float32), random_tokens(M, K, mx.float32)
        with mx.stream(mx.cpu):
            native = kernels.quantized_matmul(*arguments(x, w))
        assert (np.abs(wide(MetalQuantizedMatmul(rung)(*arguments(x, w))) - wide(native)) <= 2 * allowed(x, w)).all()


def test_the_tolerance_is_tight():
    """A weight that is one step off is seen, in each dtype."""
    for dtype in DTYPES:
        w, x = random_matrix(4, 64, 32, 4, dtype), random_tokens(2, 64, dtype)
        step = np.abs(wide(x)[:, :1] * w.scale[:, 0])
        assert (allowed(x, w) < step).mean() > 0.7


def test_each_file_has_its_kernel_and_an_instance_of_it():
    for rung, name in KERNELS.items():
        assert kernels_in(EXTENSIONS / f"reference/quantized_matmul_{rung}.metal") == [f"{name}_half_32_4", name]


@each_rung
def test_bytes_of_weights_follow_from_the_kernels_text(rung):
    """Words are read by one thread each, in tiles of 32 tokens once for all."""
    M, N, K = 33, 32, 128
    w, x = random_matrix(N, K, 32, 4, mx.float16), random_tokens(M, K, mx.float16)
    (seen,) = MetalQuantizedMatmul(rung).inspect(*arguments(x, w))
    tokens_together = {"tiles": 32, "few_tokens": 4}.get(rung, 1)
    times = -(-M // tokens_together)
    assert seen.traffic.buffers["words"].bytes_read == times * w.words.nbytes
    assert seen.traffic.buffers["words"].distinct_bytes_read == w.words.nbytes
    rows_together = {"one_thread": 1, "simd_sum": 1, "rows": 4, "tiles": 32, "few_tokens": 4}[rung]
    assert seen.traffic.buffers["x"].bytes_read == -(-N // rows_together) * x.nbytes
    assert seen.traffic.buffers["y"].bytes_written == M * N * 2


def test_what_the_check_asks_has_the_answer_of_mlx():
    w, x = random_matrix(9, 192, 64, 8, mx.bfloat16), random_tokens(3, 192, mx.bfloat16)
    made = problem("rows", x, w)
    assert np.allclose(made.wanted, by_mlx(x, w), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kernel, M, N", [("affine_qmv", 3, 37), ("affine_qmm_t", 37, 40), ("affine_qmm_t", 5, 64)])
def test_mlxs_own_kernels_run_as_mlx_launches_them(kernel, M, N):
    w, x = random_matrix(N, 320, 32, 4, mx.float16), random_tokens(M, 320, mx.float16)
    (seen,) = MlxQuantizedMatmul(kernel).inspect(*arguments(x, w))
    assert not seen.findings, "\n".join(map(str, seen.findings))
    assert (np.abs(wide(seen.outputs[0]) - by_mlx(x, w)) <= allowed(x, w)).all()
    assert seen.traffic.buffers["w"].distinct_bytes_read == w.words.nbytes
