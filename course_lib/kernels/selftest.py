"""Does the extension work? Importing it proves little: an extension built with another nanobind than
MLX's imports, and then refuses every array."""

import mlx.core as mx

from course_lib.kernels.extension import threads
from course_lib.kernels.operations import (
    quantized_matmul,
    rms_norm,
    rope,
    scaled_dot_product_attention,
    swiglu,
)


def self_test() -> str:
    """Call every operation once on the CPU and compare with MLX's.

    Returns:
        One line: what works.

    Raises:
        NotBuilt: the kernels are not built.
        RuntimeError: an operation cannot be called, or computes something else than MLX's.
    """
    on_cpu = {"stream": mx.cpu}
    normal = lambda *shape: mx.random.normal(shape, key=mx.random.key(sum(shape)), **on_cpu)  # noqa: E731
    x, w = normal(3, 64), mx.quantize(normal(40, 64), 32, 4, **on_cpu)
    q, k, v = normal(1, 4, 5, 32), normal(1, 2, 9, 32), normal(1, 2, 9, 64)[..., ::2]
    g, u = normal(2, 70), normal(2, 71)[:, 1:]
    count = threads()
    pairs = {
        "quantized_matmul": lambda: (
            quantized_matmul(x, *w, 32, 4, **on_cpu),
            mx.quantized_matmul(x, *w, True, 32, 4, **on_cpu),
        ),
        "scaled_dot_product_attention": lambda: (
            scaled_dot_product_attention(q, k, v, scale=0.2, mask="causal", **on_cpu),
            mx.fast.scaled_dot_product_attention(q, k, v, scale=0.2, mask="causal", **on_cpu),
        ),
        "rms_norm": lambda: (
            rms_norm(x, x[0], 1e-5, **on_cpu),
            mx.fast.rms_norm(x, x[0], 1e-5, **on_cpu),
        ),
        "rope": lambda: (
            rope(q, 32, base=1e4, offset=3, **on_cpu),
            mx.fast.rope(q, 32, traditional=False, base=1e4, scale=1.0, offset=3, **on_cpu),
        ),
        "swiglu": lambda: (
            swiglu(g, u, **on_cpu),
            mx.multiply(mx.multiply(g, mx.sigmoid(g, **on_cpu), **on_cpu), u, **on_cpu),
        ),
    }
    for name, call in pairs.items():
        try:
            ours, mlx = call()
        except TypeError as error:
            raise RuntimeError(
                f"{name} cannot be called ({str(error).splitlines()[0]}). The extension was built with another "
                "nanobind than MLX: install the pinned versions, then build again"
            ) from error
        difference = mx.abs(mx.subtract(ours, mlx, **on_cpu), **on_cpu).max(**on_cpu).item()
        if not difference < 1e-4:
            raise RuntimeError(f"{name} differs from MLX's by {difference:.2g}")
    return f"{len(pairs)} operations agree with MLX's, on {count} thread{'s' * (count != 1)}"
