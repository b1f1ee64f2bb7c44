"""A whole kernel from a .metal file on whatever this machine has: an Apple GPU, or the emulator."""

import mlx.core as mx
import pytest

from course_lib.kernels.metal import load_metal
from course_lib.paths import CHECKOUT


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16])
def test_a_tiled_attention_head_is_mlxs(dtype):
    L, S, D = 64, 96, 64
    kernel = load_metal(CHECKOUT / "bench/attention.metal", "attention")
    q, k, v = (mx.random.normal((n, D), key=mx.random.key(n)).astype(dtype) for n in (L, S, S))
    (out,) = kernel(
        inputs=[q, k, v, S, D**-0.5], template=[("T", dtype), ("D", D)], grid=(L * 4, 1, 1),
        threadgroup=(128, 1, 1), output_shapes=[(L, D)], output_dtypes=[mx.float32],
    )  # fmt: skip
    wide = [a.astype(mx.float32)[None, None] for a in (q, k, v)]
    want = mx.fast.scaled_dot_product_attention(*wide, scale=D**-0.5)[0, 0]
    assert mx.allclose(out, want, atol=1e-4 if dtype == mx.float32 else 3e-3)
