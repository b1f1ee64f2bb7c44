"""Rungs side by side: their time where there is a GPU, else what they move."""

import mlx.core as mx
from matplotlib.figure import Figure

from ....kernels.metal.apple import available as apple_gpu
from ....lab.plots import bars, new_figure
from ....lab.timing import compare
from .problems import random_matrix, random_tokens

TOKENS = {"one token (decode)": 1, "37 tokens (prefill)": 37}
ON_GPU = (1536, 576)  # [N, K]: SmolLM2's gate and up projections
IN_EMULATOR = (64, 576)  # fewer rows: bytes grow with N, ratios hardly do
ROUNDS, SECONDS = 5, 1.5
MINIMUM, MLX = "minimum", "MLX"


def benchmark(kernels) -> tuple[Figure, str]:
    """Kernels on one matrix in float16 and 4 bits, for one token and for 37."""
    on_gpu = apple_gpu()
    figure, axes = new_figure(0.42 * len(kernels) + 1.7, width=10, columns=2)
    for ax, (title, M) in zip(axes, TOKENS.items(), strict=True):
        N, K = ON_GPU if on_gpu else IN_EMULATOR
        w = random_matrix(N, K, 32, 4, mx.float16)
        x = random_tokens(M, K, mx.float16)
        arguments = (x, w.words, w.scales, w.biases, 32, 4)
        if on_gpu:
            _times(kernels, arguments, title, ax)
        else:
            _bytes(kernels, arguments, f"{title}, {N} x {K}", ax)
    return figure, (
        "The rungs for one token and for 37: bytes moved in device memory beside the minimum, or on a machine with a "
        "GPU times beside MLX's own kernel, logarithmic."
    )


def _times(kernels, arguments, title, ax) -> None:
    mx.eval(arguments[:4])
    contenders = {name: lambda kernel=kernel: kernel(*arguments, stream=mx.gpu) for name, kernel in kernels.items()}
    contenders[MLX] = lambda: mx.quantized_matmul(*arguments[:4], True, *arguments[4:], stream=mx.gpu)
    times = compare(contenders, rounds=ROUNDS, budget=SECONDS)
    bars(times.median, spread=times.spread, quantity="time", unit="s", title=title, log=True, ax=ax)


def _bytes(kernels, arguments, title, ax) -> None:
    moved = {name: device_bytes(kernel, arguments) for name, kernel in kernels.items()}
    moved[MINIMUM] = least_bytes(arguments)
    bars(moved, quantity="bytes moved", unit="bytes", title=title, ax=ax)


def device_bytes(kernel, arguments) -> int:
    """Bytes that a call reads from device memory and writes to it, every access counted."""
    return sum(launch.traffic.device_bytes for launch in kernel.inspect(*arguments))


def least_bytes(arguments) -> int:
    """Bytes if everything is read or written once."""
    x, words = arguments[:2]
    return sum(a.nbytes for a in arguments[:4]) + x.shape[0] * words.shape[0] * x.dtype.size
