"""Each native operation against MLX's own, at the shapes of the embedded model."""

from collections.abc import Iterator

import mlx.core as mx

from bench.result import Result
from course_lib import kernels
from course_lib.lab.timing import compare

OURS, MLX = "native", "MLX"
E, F, H, H_KV, D = 576, 1536, 9, 3, 64  # SmolLM2-135M
MATRICES = {"q and o": (E, E), "k and v": (H_KV * D, E), "gate and up": (F, E), "down": (E, F)}
COPIES = 4  # of the operands, used in turn: one alone would stay in the cache


def run(rounds: int) -> Iterator[Result]:
    """One result an operation and shape."""
    yield from quantized_matmuls(rounds)
    yield from attentions(rounds)
    yield from row_operations(rounds)


def contest(suite, case, rounds, ours, mlx, operands, work, unit) -> Result:
    """Time ours(*operands[i]) against mlx(*operands[i]), all copies in one evaluation: the times shown are
    for len(operands) calls."""
    mx.eval(operands)
    contenders = {
        MLX: lambda: [mlx(*args) for args in operands],
        OURS: lambda: [ours(*args) for args in operands],
    }
    comparison = compare(contenders, rounds=rounds, warmup=2, budget=6)
    return Result(suite, case, MLX, comparison, work * len(operands), unit)


def quantized_matmuls(rounds):
    for M in (1, 8, 37, 128):
        for name, (N, K) in MATRICES.items():
            operands = []
            for i in range(COPIES if M <= 8 else 1):
                w, scales, biases = mx.quantize(mx.random.normal((N, K), key=mx.random.key(i)), 32, 4)
                half = [a.astype(mx.float16).astype(mx.float32) for a in (scales, biases)]
                operands.append((mx.random.normal((M, K)), w, *half, *kernels.narrow_scales(*half)))
            yield contest(
                "quantized_matmul", f"M={M:<3} {name} [{N}, {K}]", rounds,
                lambda x, w, s, b, narrow_s, narrow_b: kernels.quantized_matmul(x, w, narrow_s, narrow_b, 32, 4),
                lambda x, w, s, b, *_: mx.quantized_matmul(x, w, s, b, True, 32, 4),
                operands, 2e-9 * M * N * K, "GFLOP",
            )  # fmt: skip


def attentions(rounds):
    shapes = [("prefill", 37, 37), ("prefill", 512, 512), ("decode", 1, 128), ("decode", 1, 512), ("decode", 1, 2048)]
    for kind, L, S in shapes:
        operands = []
        for i in range(COPIES if L == 1 else 1):
            tokens = mx.random.normal((1, L, H, D), key=mx.random.key(i))
            room = mx.random.normal((2, 1, H_KV, S + 100, D), key=mx.random.key(i))  # slices of a cache
            operands.append((tokens.transpose(0, 2, 1, 3), room[0, :, :, :S], room[1, :, :, :S]))
        mask = "causal" if L > 1 else None
        yield contest(
            "attention", f"{kind} L={L} S={S}", rounds,
            lambda q, k, v, mask=mask: kernels.scaled_dot_product_attention(q, k, v, scale=D**-0.5, mask=mask),
            lambda q, k, v, mask=mask: mx.fast.scaled_dot_product_attention(q, k, v, scale=D**-0.5, mask=mask),
            operands, 4e-9 * H * D * sum(S - L + 1 + i for i in range(L)), "GFLOP",
        )  # fmt: skip


def row_operations(rounds):
    weight = mx.random.normal((E,))
    for M in (1, 37):
        x = [(mx.random.normal((1, M, E)),) for _ in range(COPIES)]
        yield contest(
            "rms_norm", f"M={M}", rounds,
            lambda x: kernels.rms_norm(x, weight, 1e-5), lambda x: mx.fast.rms_norm(x, weight, 1e-5),
            x, 1e-9 * M * E * 8, "GB",
        )  # fmt: skip
        q = [(mx.random.normal((1, M, H, D)).transpose(0, 2, 1, 3),) for _ in range(COPIES)]
        yield contest(
            "rope", f"L={M}", rounds,
            lambda q: kernels.rope(q, D, base=1e5, offset=40),
            lambda q: mx.fast.rope(q, D, traditional=False, base=1e5, scale=1.0, offset=40),
            q, 1e-9 * M * H * D * 8, "GB",
        )  # fmt: skip
        pair = [(mx.random.normal((1, M, F)), mx.random.normal((1, M, F))) for _ in range(COPIES)]
        yield contest(
            "swiglu", f"M={M}", rounds,
            kernels.swiglu, lambda gate, up: gate * mx.sigmoid(gate) * up, pair, 1e-9 * M * F * 12, "GB",
        )  # fmt: skip
