"""Native kernels: the C++ of `extensions/` built for this machine, and called from Python.

    python -m course_lib.kernels build       compile; nothing to do when nothing has changed
    python -m course_lib.kernels test        call every operation once

The operations take and return MLX arrays, run on the CPU, and compute in float32. `cpu_parts()` makes
of them the parts that a model is built from. Importing this package is quick; the extension is loaded
when an operation is first called.
"""

from course_lib.kernels.extension import NotBuilt, set_threads, threads
from course_lib.kernels.operations import (
    int8_matmul,
    quantized_matmul,
    rms_norm,
    rope,
    scaled_dot_product_attention,
    swiglu,
)
from course_lib.kernels.parts import cpu_parts
from course_lib.kernels.scales import narrow_scales
from course_lib.kernels.selftest import self_test

__all__ = [
    "NotBuilt",
    "cpu_parts",
    "int8_matmul",
    "narrow_scales",
    "quantized_matmul",
    "rms_norm",
    "rope",
    "scaled_dot_product_attention",
    "self_test",
    "set_threads",
    "swiglu",
    "threads",
]
