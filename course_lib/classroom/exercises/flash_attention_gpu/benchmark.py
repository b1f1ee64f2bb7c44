"""What the rungs take: time beside MLX's own kernel on an Apple GPU, elsewhere the bytes that they move."""

from collections.abc import Callable, Mapping

import mlx.core as mx
from matplotlib.figure import Figure

from ....kernels.metal import apple
from ....lab.plots import bars, new_figure
from ....lab.timing import compare

HEADS, KV_HEADS, HEAD_DIM = 3, 1, 64  # a third of SmolLM2's
COUNTED = {"64 queries, 64 keys (prefill)": (64, 64), "1 query, 256 keys (decode)": (1, 256)}
TIMED = {"1,024 queries and keys (prefill)": (1024, 1024), "1 query, 8,192 keys (decode)": (1, 8192)}
ROUNDS, SECONDS = 7, 2.0
MINIMUM = "each number once"
ALT = (
    "The rungs for a prompt and for one token: bytes moved in device memory beside each number once, or on a machine with a "
    "GPU times beside MLX's own kernel, logarithmic."
)


def benchmark(kernels: Mapping[str, Callable]) -> tuple[Figure, str]:
    """A figure and its alt text; `kernels`: name -> MetalAttention."""
    return _times(kernels) if apple.available() else _traffic(kernels)


def inputs(L: int, S: int, *, heads: int = HEADS, kv_heads: int = KV_HEADS, dtype: mx.Dtype = mx.float16) -> list[mx.array]:
    """Random queries [1, heads, L, 64], keys and values [1, kv_heads, S, 64]."""
    shapes = ((heads, L), (kv_heads, S), (kv_heads, S))
    arrays = [mx.random.normal((1, *shape, HEAD_DIM), key=mx.random.key(i)).astype(dtype) for i, shape in enumerate(shapes)]
    mx.eval(arrays)
    return arrays


def device_bytes(kernel: Callable, *arrays: mx.array, mask: str | None = None) -> int:
    """Bytes between device memory and the threads, in all launches of one call."""
    seen = kernel.inspect(*arrays, scale=arrays[0].shape[3] ** -0.5, mask=mask)
    return sum(launch.traffic.device_bytes for launch in seen)


def _traffic(kernels):
    figure, axes = new_figure(0.42 * (len(kernels) + 1) + 1.7, width=10, columns=2)
    for ax, (title, (L, S)) in zip(axes, COUNTED.items(), strict=True):
        arrays = inputs(L, S)
        moved = {name: device_bytes(kernel, *arrays, mask="causal") for name, kernel in kernels.items()}
        moved[MINIMUM] = sum(a.nbytes for a in arrays) + arrays[0].nbytes
        bars(moved, quantity="bytes moved", unit="bytes", title=title, ax=ax)
    return figure, ALT


def _times(kernels):
    figure, axes = new_figure(0.42 * (len(kernels) + 1) + 1.7, width=10, columns=2)
    for ax, (title, (L, S)) in zip(axes, TIMED.items(), strict=True):
        arrays = inputs(L, S, heads=9, kv_heads=3)
        contenders = {**kernels, "MLX": mx.fast.scaled_dot_product_attention}
        calls = {
            name: lambda kernel=kernel, arrays=arrays: kernel(*arrays, scale=HEAD_DIM**-0.5, mask="causal", stream=mx.gpu)
            for name, kernel in contenders.items()
        }
        times = compare(calls, rounds=ROUNDS, budget=SECONDS)
        bars(times.median, spread=times.spread, quantity="time", unit="s", title=title, log=True, ax=ax)
    return figure, ALT
