"""The rungs of notebook 02's ladder against MLX's own quantized matmul, at the embedded model's shapes."""

from collections.abc import Iterator

import mlx.core as mx

from bench.result import Result
from course_lib import kernels
from course_lib.kernels.loaded import LoadedQuantizedMatmul
from course_lib.lab.timing import compare

MLX = "MLX"
RUNGS = ("scalar", "vectors", "threads", "tiles")
LAST = RUNGS[-1]
E, F, H_KV, D = 576, 1536, 3, 64  # SmolLM2-135M
MATRICES = {"q and o": (E, E), "k and v": (H_KV * D, E), "gate and up": (F, E), "down": (E, F)}
GOALS = {1: 8.0, 37: 30.0}  # tokens -> how many times as fast as MLX the last rung is to be
COPIES = 4  # of the operands, used in turn: one alone would stay in the innermost cache


def run(rounds: int) -> Iterator[Result]:
    """One result for each number of tokens: all four matrices of a layer together, and each alone."""
    for M in (1, 8, 37, 128):
        copies = COPIES if M <= 8 else 1
        operands = {name: [_operands(M, *shape, seed) for seed in range(copies)] for name, shape in MATRICES.items()}
        work = {name: 2e-9 * M * N * K * copies for name, (N, K) in MATRICES.items()}
        yield _contest(f"M={M:<3} a layer's matrices", rounds, sum(operands.values(), []), sum(work.values()), GOALS.get(M))
        for name, (N, K) in MATRICES.items():
            yield _contest(f"M={M:<3} {name} [{N}, {K}]", rounds, operands[name], work[name], None)


def _operands(M, N, K, seed):
    w, scales, biases = mx.quantize(mx.random.normal((N, K), key=mx.random.key(seed)), 32, 4)
    # As a checkpoint stores them, and as MLX wants them for float32 activations.
    half = [a.astype(mx.float16).astype(mx.float32) for a in (scales, biases)]
    return mx.random.normal((M, K), key=mx.random.key(seed + 100)), w, *half, *kernels.narrow_scales(*half)


def _contest(case, rounds, operands, work, goal) -> Result:
    mx.eval(operands)
    contenders = {MLX: lambda: [mx.quantized_matmul(x, w, s, b, True, 32, 4) for x, w, s, b, _, _ in operands]}
    for rung in RUNGS:
        kernel = LoadedQuantizedMatmul(None, rung)
        contenders[rung] = lambda kernel=kernel: [kernel(x, w, s, b, 32, 4) for x, w, _, _, s, b in operands]
    comparison = compare(contenders, rounds=rounds, warmup=2, budget=6)
    return Result("quantized_matmul", case, MLX, comparison, work, "GFLOP", {LAST: goal} if goal else {})
