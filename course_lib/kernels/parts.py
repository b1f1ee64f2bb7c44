"""The native operations as the parts of a model (`course_lib.llm.parts`)."""

import warnings
from dataclasses import replace
from functools import cache
from weakref import WeakKeyDictionary

import mlx.core as mx

from course_lib.kernels.extension import NotBuilt, extension
from course_lib.kernels.scales import narrow_scales


def cpu_parts(int8_activations: bool = False):
    """The parts of a model on the CPU, made of the native operations.

    Args:
        int8_activations: products with quantized weights round their inputs to 8 bits first.

    Returns:
        `course_lib.llm.parts.Parts`; None where MLX's default device is not the CPU, and, with a
        warning, where the kernels are not built.
    """
    if mx.default_device() != mx.cpu:
        return None
    try:
        return _parts(extension(), int8_activations)
    except NotBuilt as error:
        warnings.warn(f"{error}. Until then the model runs on MLX's own, many times slower.", stacklevel=2)
        return None


@cache
def _parts(ext, int8):
    from course_lib.kernels.fusions import fits, native_fusions
    from course_lib.llm.parts import Parts, mlx_attention, mlx_linear, mlx_rms_norm, mlx_rope, mlx_swiglu
    from course_lib.llm.room import RoomKVCache

    ready = WeakKeyDictionary()

    def weight_of(weight):
        """The weight as the kernels read it, made once; None where they do not take it."""
        try:
            return ready[weight]
        except KeyError:
            pass
        native = None
        if fits(weight):
            scales, biases = narrow_scales(weight.scales, weight.biases)
            arrays = weight.weight, scales, biases, weight.group_size, weight.bits
            native = ext.Weight(arrays, weight.bias, int8)
        ready[weight] = native
        return native

    def linear(x, weight):
        native = weight_of(weight) if x.dtype == mx.float32 else None
        return mlx_linear(x, weight) if native is None else ext.linear(x, native)

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
        Parts(), linear=linear, attention=attention, rms_norm=rms_norm, rope=rope, swiglu=swiglu,
        cache=RoomKVCache, fusions=native_fusions(ext, weight_of, int8),
    )  # fmt: skip
