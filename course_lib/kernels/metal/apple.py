"""The Apple GPU backend: MLX's own mx.fast.metal_kernel, handed the same text."""

import mlx.core as mx

from course_lib.kernels.metal.signature import CONSTANT_ELEMENTS, Body


def available() -> bool:
    return mx.metal.is_available()


def make(body: Body, contiguous: bool, compile_options: dict | None):
    """The kernel as MLX compiles it, with markers so that Metal's messages name the .metal file too."""
    header, source = (
        f'#line {line} "{file}"\n{text}\n'
        for (file, line), text in zip(body.first_lines, (body.header, body.source), strict=True)
    )
    return mx.fast.metal_kernel(
        body.name, list(body.input_names), list(body.output_names), source, header if body.header else "",
        contiguous, body.atomic_outputs, compile_options,
    )  # fmt: skip


def padded(array: mx.array) -> mx.array:
    """The array with as many elements as MLX needs to put it in device memory."""
    missing = CONSTANT_ELEMENTS - array.size
    return mx.concatenate([array.reshape(-1), mx.zeros(missing, array.dtype)]) if missing > 0 else array
