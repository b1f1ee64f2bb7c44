"""The native operations as the parts of a model (`course_lib.llm.parts`)."""

import warnings
from dataclasses import replace
from functools import cache
from weakref import WeakKeyDictionary

import mlx.core as mx

from course_lib.kernels.extension import NotBuilt, extension
from course_lib.kernels.scales import narrow_scales


def cpu_parts():
    """The parts of a model on the CPU, made of the native operations.

    Returns:
        `course_lib.llm.parts.Parts`; None where MLX's default device is not the CPU, and, with a
        warning, where the kernels are not built.
    """
    if mx.default_device() != mx.cpu:
        return None
    try:
        return _parts(extension())
    except NotBuilt as error:
        warnings.warn(f"{error}. Until then the model runs on MLX's own, many times slower.", stacklevel=2)
        return None


@cache
def _parts(ext):
    from course_lib.llm.parts import Parts, mlx_attention, mlx_linear, mlx_rms_norm, mlx_rope, mlx_swiglu
    from course_lib.llm.weights import QuantizedWeight

    # What a weight looks like to the kernel, narrowed once: None where the kernel does not serve it.
    known = WeakKeyDictionary()

    def arguments(weight):
        supported = (
            isinstance(weight, QuantizedWeight) and weight.bits in (4, 8) and weight.group_size in (32, 64, 128)
        )
        if not supported:
            return None
        scales, biases = narrow_scales(weight.scales, weight.biases)
        return weight.weight, scales, biases, weight.group_size, weight.bits

    def linear(x, weight):
        try:
            packed = known[weight]
        except KeyError:
            packed = known[weight] = arguments(weight)
        if packed is None or x.dtype != mx.float32:
            return mlx_linear(x, weight)
        out = ext.quantized_matmul(x, *packed)
        return out if weight.bias is None else out + weight.bias

    def attention(queries, keys, values, *, scale, mask):
        if queries.dtype != mx.float32:
            return mlx_attention(queries, keys, values, scale=scale, mask=mask)
        causal = isinstance(mask, str) and mask == "causal"
        return ext.attention(queries, keys, values, scale, causal, None if causal else mask)

    def rms_norm(x, weight, eps):
        if x.dtype != mx.float32:
            return mlx_rms_norm(x, weight, eps)
        return ext.rms_norm(x, weight, eps)

    def rope(x, *, dims, traditional, base, scale, offset, freqs):
        if x.dtype != mx.float32:
            return mlx_rope(
                x, dims=dims, traditional=traditional, base=base, scale=scale, offset=offset, freqs=freqs
            )
        return ext.rope(x, dims, traditional, base, scale, offset, freqs)

    def swiglu(gate, up):
        if gate.dtype != mx.float32:
            return mlx_swiglu(gate, up)
        return ext.swiglu(gate, up)

    return replace(
        Parts(), linear=linear, attention=attention, rms_norm=rms_norm, rope=rope, swiglu=swiglu
    )
