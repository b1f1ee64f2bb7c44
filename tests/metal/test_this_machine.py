"""A whole kernel from a .metal file on whatever this machine has: an Apple GPU, or the emulator."""

import mlx.core as mx
import numpy as np
import pytest

from course_lib.classroom.exercises.quantization_gpu.problems import CASES, problems
from course_lib.kernels.metal.apple import available
from course_lib.kernels.metal_attention import RUNGS, MetalAttention
from course_lib.kernels.metal_quantized_matmul import RUNGS as MATMUL_RUNGS
from course_lib.kernels.metal_quantized_matmul import MetalQuantizedMatmul

HERE = {"stream": mx.gpu} if available() else {}  # the other tests of this folder stay on the CPU


@pytest.mark.parametrize("rung", MATMUL_RUNGS)
@pytest.mark.parametrize("case", CASES)
def test_quantized_matmul_gives_what_its_check_asks(rung, case):
    for problem in problems(rung, case):
        given = MetalQuantizedMatmul(rung)(*problem.arguments, **HERE).astype(mx.float32)
        assert (np.abs(np.array(given) - problem.wanted) <= problem.tolerance).all(), problem.words


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
def test_attention_is_mlxs(rung, dtype):
    B, H, H_kv, L, S, D = 1, 4, 2, 45, 130, 64
    q = mx.random.normal((B, H, L, D), key=mx.random.key(0)).astype(dtype)
    k, v = (mx.random.normal((B, H_kv, S, D), key=mx.random.key(n)).astype(dtype) for n in (1, 2))
    out = MetalAttention(rung)(q, k, v, scale=D**-0.5, mask="causal", **HERE).astype(mx.float32)
    wide = [a.astype(mx.float32) for a in (q, k, v)]
    want = mx.fast.scaled_dot_product_attention(*wide, scale=D**-0.5, mask="causal")
    assert mx.allclose(out, want, rtol={mx.float32: 1e-4, mx.float16: 2**-10, mx.bfloat16: 2**-7}[dtype], atol=1e-4)
