"""MLX's own kernels, from the headers of its wheel, run clean and right: thousands of lines that were not written for us."""

import re
from importlib.util import find_spec
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from course_lib.kernels.metal import load_metal

HEADERS = Path(find_spec("mlx").submodule_search_locations[0]) / "include/mlx/backend/metal/kernels"
QUANTIZED = ("quantized_utils.h", "steel/utils/type_traits.h", "steel/utils/integral_constant.h", "steel/defines.h",
             "steel/utils.h", "steel/gemm/transforms.h", "steel/gemm/params.h", "steel/gemm/mma.h", "steel/gemm/loader.h",
             "steel/gemm/gemm.h", "quantized.h")  # fmt: skip


@pytest.fixture
def of_mlx(tmp_path):
    """of_mlx(headers, kernel): the kernel, of one file made of these headers."""

    def load(headers, kernel):
        text = "".join((HEADERS / name).read_text() for name in headers)
        text = re.sub(r'#include "mlx[^\n]*', "", text)
        # What only the matrix kernels of the file use, and mx.fast.metal_kernel cannot pass.
        text = re.sub(r"constant bool (\w+) \[\[function_constant\(\d+\)\]\];", r"constant constexpr bool \1 = true;", text)
        path = tmp_path / "of_mlx.metal"
        path.write_text(f"#include <metal_stdlib>\nusing namespace metal;\n{text}")
        return load_metal(path, kernel, device="emulator")

    return load


@pytest.mark.parametrize("kernel, threads, dtype", [
    ("softmax_single_row", 128, mx.float32), ("softmax_looped", 1024, mx.bfloat16),  # as many as MLX launches
])  # fmt: skip
def test_softmax(of_mlx, rng, kernel, threads, dtype):
    x = mx.array(rng.standard_normal((3, 500)).astype(np.float32)).astype(dtype)
    (y,) = of_mlx(["softmax.h"], kernel)(
        inputs=[x, 500], output_shapes=[x.shape], output_dtypes=[dtype], grid=(3 * threads, 1, 1), threadgroup=(threads, 1, 1),
        template=[("T", dtype), ("AccT", mx.float32), ("N_READS", 4)], check=True,
    )  # fmt: skip
    wanted = mx.softmax(x.astype(mx.float32), -1).astype(dtype)
    tolerance = {mx.float32: 1e-6, mx.bfloat16: 2.0**-8}[dtype]
    np.testing.assert_allclose(np.array(y.astype(mx.float32)), np.array(wanted.astype(mx.float32)), rtol=tolerance, atol=1e-7)


@pytest.mark.parametrize("bits", [4, 8])
def test_quantized_matrix_times_vector(of_mlx, rng, bits):
    K, N = 512, 16
    x = mx.array(rng.standard_normal((1, K)).astype(np.float32))
    w, scales, biases = mx.quantize(mx.array(rng.standard_normal((N, K)).astype(np.float32)), 64, bits)
    kernel = of_mlx(QUANTIZED, "affine_qmv_fast")
    given = {"w": w, "scales": scales, "biases": biases, "x": x, "in_vec_size": K, "out_vec_size": N}
    unused = {name: mx.zeros(1, mx.int64 if name.endswith("strides") else mx.int32) for name in kernel.input_names}
    (y,) = kernel(
        inputs=[given.get(name, unused[name]) for name in kernel.input_names], output_shapes=[(1, N)],
        output_dtypes=[mx.float32], grid=(32, 2 * N // 8, 1), threadgroup=(32, 2, 1), check=True,
        template=[("T", mx.float32), ("group_size", 64), ("bits", bits), ("batched", False)],
    )  # fmt: skip
    wanted = x @ mx.dequantize(w, scales, biases, 64, bits).T
    np.testing.assert_allclose(np.array(y), np.array(wanted), atol=2e-4)
    read = kernel.traffic.buffers["w"]
    # The kernel's text asks for each 16 bits of 4-bit weights once for each of the four in them.
    assert read.distinct_bytes_read == N * K * bits // 8
    assert read.bytes_read == read.distinct_bytes_read * {4: 4, 8: 1}[bits]
