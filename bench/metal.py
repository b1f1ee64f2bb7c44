"""Metal kernels in the emulator: a launch, a tiled attention head, and what the first call costs.

The goals of the emulator are times, not ratios, on one core: the head at most 15 ms plain and 250 ms sanitized, a
kernel compiled within 4 s, and found in the cache within 50 ms.
"""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import mlx.core as mx

from bench.result import Result
from course_lib.kernels.metal import metal_kernel
from course_lib.kernels.metal_attention import MetalAttention
from course_lib.lab.timing import compare
from course_lib.paths import EXTENSIONS

ATTENTION = EXTENSIONS / "reference" / "attention_matrices.metal"
L, S, D = 128, 128, 64
PLAIN, CHECKED, MLX = "emulator", "sanitized", "MLX, CPU"


def run(rounds: int) -> Iterator[Result]:
    """One result a question."""
    yield launch(rounds)
    for dtype in (mx.float32, mx.float16):
        yield attention(rounds, dtype)
    yield first_call(rounds)


def launch(rounds: int) -> Result:
    """The overhead of a compiled kernel, beside an MLX operation that does the same."""
    kernel = metal_kernel("copy", ["x"], ["y"], "uint i = thread_position_in_grid.x; y[i] = x[i] + 1;", device="emulator")
    x = mx.zeros(32)
    call = {"inputs": [x], "output_shapes": [(32,)], "output_dtypes": [mx.float32], "grid": (32, 1, 1),
            "threadgroup": (32, 1, 1)}  # fmt: skip
    contenders = {MLX: lambda: x + 1, PLAIN: lambda: kernel(**call), CHECKED: lambda: kernel(**call, check=True)}
    return Result("metal", "a launch of 32 threads", MLX, compare(contenders, rounds=rounds, warmup=2, budget=10), 1, "launch")


def attention(rounds: int, dtype: mx.Dtype) -> Result:
    kernel = MetalAttention("matrices", device="emulator")
    q, k, v = (mx.random.normal((1, 1, n, D), key=mx.random.key(n)).astype(dtype) for n in (L, S, S))
    wide = [a.astype(mx.float32) for a in (q, k, v)]
    mx.eval(q, k, v, wide)
    contenders = {
        MLX: lambda: mx.fast.scaled_dot_product_attention(*wide, scale=D**-0.5),
        PLAIN: lambda: kernel(q, k, v, scale=D**-0.5),
        CHECKED: lambda: kernel(q, k, v, scale=D**-0.5, check=True),
    }
    name = str(dtype).removeprefix("mlx.core.")
    comparison = compare(contenders, rounds=rounds, warmup=2, budget=20)
    return Result("metal", f"attention head {L} x {S} x {D} {name}", MLX, comparison, 4e-9 * L * S * D, "GFLOP")


def first_call(rounds: int) -> Result:
    """A source never seen, one whose program is in the cache, and the emulator itself not compiled yet either."""
    text = ATTENTION.read_text()
    numbers = count()
    q = mx.zeros((1, 1, 32, D))
    mx.eval(q)
    with TemporaryDirectory() as folder, patch.dict("os.environ", COURSE_CACHE=folder):
        path = Path(folder, "attention.metal")

        def fresh(check):
            path.write_text(f"{text}// {next(numbers)}\n")
            return MetalAttention("matrices", path, device="emulator")(q, q, q, scale=1.0, check=check)

        def known():
            return MetalAttention("matrices", device="emulator")(q, q, q, scale=1.0)

        contenders = {"warm": known, "cold": lambda: fresh(False), "cold, sanitized": lambda: fresh(True)}
        comparison = compare(contenders, rounds=rounds, warmup=1, budget=60)
    return Result("metal", "the first call", "warm", comparison, 1, "call")
