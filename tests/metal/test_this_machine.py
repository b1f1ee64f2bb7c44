"""A whole kernel from a .metal file on whatever this machine has: an Apple GPU, or the emulator."""

import mlx.core as mx
import pytest

from course_lib.kernels.metal_attention import RUNGS, MetalAttention


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
def test_attention_is_mlxs(rung, dtype):
    B, H, H_kv, L, S, D = 1, 4, 2, 45, 130, 64
    q = mx.random.normal((B, H, L, D), key=mx.random.key(0)).astype(dtype)
    k, v = (mx.random.normal((B, H_kv, S, D), key=mx.random.key(n)).astype(dtype) for n in (1, 2))
    out = MetalAttention(rung)(q, k, v, scale=D**-0.5, mask="causal").astype(mx.float32)
    wide = [a.astype(mx.float32) for a in (q, k, v)]
    want = mx.fast.scaled_dot_product_attention(*wide, scale=D**-0.5, mask="causal")
    assert mx.allclose(out, want, rtol={mx.float32: 1e-4, mx.float16: 2**-10, mx.bfloat16: 2**-7}[dtype], atol=1e-4)
