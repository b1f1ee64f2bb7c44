"""Attention in C++, in tiles, against MLX's own on the CPU: reading prompts, and writing a token after a long text."""

from collections.abc import Iterator

import mlx.core as mx

from bench.result import Result
from course_lib import kernels
from course_lib.lab.timing import compare

HEADS, KV_HEADS, HEAD_DIM = 9, 3, 64  # SmolLM2's
MLX, OURS = "mlx", "course"
PREFILL, DECODE = (512, 2048), (512, 2048, 8192)


def run(rounds: int) -> Iterator[Result]:
    """One layer's attention, float32, causal. MLX gets the mask that is fastest for it."""
    for length in PREFILL:
        yield attend(rounds, f"prefill {length}", length, length, 5)
    for length in DECODE:
        yield attend(rounds, f"decode at {length}", 1, length, 3)


def attend(rounds: int, case: str, L: int, S: int, goal: float) -> Result:
    q = mx.random.normal((1, HEADS, L, HEAD_DIM), key=mx.random.key(0))
    k, v = (mx.random.normal((1, KV_HEADS, S, HEAD_DIM), key=mx.random.key(i)) for i in (1, 2))
    mx.eval(q, k, v)
    # One query sees every key: without a mask MLX does not make one.
    mask, scale = ("causal" if L > 1 else None), HEAD_DIM**-0.5
    ways = {MLX: mx.fast.scaled_dot_product_attention, OURS: kernels.scaled_dot_product_attention}
    calls = {name: lambda way=way: way(q, k, v, scale=scale, mask=mask) for name, way in ways.items()}
    a, b = (call() for call in calls.values())
    assert mx.allclose(a, b, atol=1e-4).item(), f"{case}: the results differ"
    comparison = compare(calls, rounds=rounds)
    pairs = L * S - L * (L - 1) / 2  # of a query and a key that it sees
    work = pairs * HEADS * HEAD_DIM * 4 / 1e9
    return Result("flash_attention", case, MLX, comparison, work, "GFLOP", {OURS: goal})
