"""Wrong and right ways to quantize and dequantize."""

import mlx.core as mx
import numpy as np

from course_lib.techniques import quantization as reference
from course_lib.techniques.quantization import pack

from .. import mutant, rival

QUANTIZE, DEQUANTIZE, CLIPPED = "quantization.quantize", "quantization.dequantize", "quantization.clipped"


def _quantize(w, group_size, bits, *, range_of=None, steps=None, rounding=mx.round, least=1e-7):
    """The reference, with one thing done otherwise."""
    if w.shape[1] % group_size:
        raise ValueError("no whole groups")
    groups = w.reshape(w.shape[0], -1, group_size).astype(mx.float32)
    low, high = range_of(groups) if range_of else (groups.min(-1, keepdims=True), groups.max(-1, keepdims=True))
    scales = (high - low) / (steps or 2**bits - 1)
    if least:
        scales = mx.maximum(scales, least)
    q = mx.clip(rounding((groups - low) / scales), 0, 2**bits - 1).astype(mx.uint8)
    scales, biases = (mx.broadcast_to(a, (*groups.shape[:2], 1))[..., 0] for a in (scales, low))
    return pack(q.reshape(w.shape), bits), scales.astype(w.dtype), biases.astype(w.dtype)


@mutant(QUANTIZE, "floor")
def quantize_floor(w, group_size, bits):
    return _quantize(w, group_size, bits, rounding=mx.floor)


@mutant(QUANTIZE, "too_many_steps")
def quantize_too_many_steps(w, group_size, bits):
    return _quantize(w, group_size, bits, steps=2**bits)


@mutant(QUANTIZE, "one_range")
def quantize_one_range(w, group_size, bits):
    return _quantize(w, group_size, bits, range_of=lambda g: (g.min().reshape(1, 1, 1), g.max().reshape(1, 1, 1)))


@mutant(QUANTIZE, "symmetric")
def quantize_symmetric(w, group_size, bits):
    def centred(groups):
        largest = mx.abs(groups).max(-1, keepdims=True)
        return -largest, largest

    return _quantize(w, group_size, bits, range_of=centred)


@mutant(QUANTIZE, "strided_groups")
def quantize_wrong_reshape(w, group_size, bits):
    if w.shape[1] % group_size:
        raise ValueError("no whole groups")
    groups = w.reshape(w.shape[0], group_size, -1).astype(mx.float32)
    low = groups.min(1, keepdims=True)
    scales = mx.maximum((groups.max(1, keepdims=True) - low) / (2**bits - 1), 1e-7)
    q = mx.round((groups - low) / scales).astype(mx.uint8)
    return pack(q.reshape(w.shape), bits), scales[:, 0].astype(w.dtype), low[:, 0].astype(w.dtype)


@mutant(QUANTIZE, None)
def quantize_keeps_few_steps(w, group_size, bits):
    """A floor under the step that ordinary weights reach."""
    return _quantize(w, group_size, bits, least=0.05)


@mutant(QUANTIZE, "no_error")
def quantize_takes_the_rest(w, group_size, bits):
    whole = w.shape[1] // group_size * group_size
    return _quantize(w[:, :whole], group_size, bits)


@mutant(QUANTIZE, "wide")
def quantize_stays_wide(w, group_size, bits):
    return _quantize(w.astype(mx.float32), group_size, bits)


@mutant(QUANTIZE, None)
def quantize_as_mlx(w, group_size, bits):
    """MLX moves the range so that 0 is exact: some weights are off by more than half a step."""
    return mx.quantize(w, group_size, bits)


@rival(QUANTIZE)
def quantize_from_the_top(w, group_size, bits):
    """Counts down from the largest weight: negative scales."""
    packed, scales, biases = _quantize(-w, group_size, bits)
    return packed, -scales, -biases


@rival(QUANTIZE)
def quantize_in_numpy(w, group_size, bits):
    if w.shape[1] % group_size:
        raise ValueError("no whole groups")
    groups = np.array(w.astype(mx.float32)).astype(np.float64).reshape(w.shape[0], -1, group_size)
    low, step = groups.min(-1), np.ptp(groups, axis=-1) / (2**bits - 1)
    step[step == 0] = 1
    q = np.clip(np.floor((groups - low[..., None]) / step[..., None] + 0.5), 0, 2**bits - 1).astype(np.uint8)
    to_mlx = lambda a: mx.array(a.astype(np.float32)).astype(w.dtype)  # noqa: E731
    return pack(mx.array(q.reshape(w.shape)), bits), to_mlx(step), to_mlx(low)


def _dequantize(packed, scales, biases, group_size, bits, each=None, bias=None):
    K = packed.shape[-1] * 32 // bits
    if scales.shape != biases.shape or K != scales.shape[1] * group_size:
        raise ValueError("shapes do not fit")
    each = each or (lambda a: mx.repeat(a, group_size, axis=1))
    q = reference.unpack(packed, bits).astype(scales.dtype)
    return each(scales) * q + (each(biases) if bias is None else bias)


@mutant(DEQUANTIZE, "no_bias")
def dequantize_without_bias(packed, scales, biases, group_size, bits):
    return _dequantize(packed, scales, biases, group_size, bits, bias=0)


@mutant(DEQUANTIZE, "bias_scaled")
def dequantize_scales_bias(packed, scales, biases, group_size, bits):
    each = lambda a: mx.repeat(a, group_size, axis=1)  # noqa: E731
    return _dequantize(packed, scales, biases, group_size, bits, bias=each(scales) * each(biases))


@mutant(DEQUANTIZE, "first_group")
def dequantize_first_group(packed, scales, biases, group_size, bits):
    return _dequantize(packed, scales, biases, group_size, bits, each=lambda a: a[:, :1])


@mutant(DEQUANTIZE, "tiled")
def dequantize_tiles(packed, scales, biases, group_size, bits):
    return _dequantize(packed, scales, biases, group_size, bits, each=lambda a: mx.tile(a, (1, group_size)))


@mutant(DEQUANTIZE, "no_error")
def dequantize_guesses_the_group(packed, scales, biases, group_size, bits):
    group_size = packed.shape[-1] * 32 // bits // scales.shape[1]
    biases = mx.tile(biases, (1, scales.shape[1] // biases.shape[1]))
    return _dequantize(packed, scales, biases, group_size, bits)


@mutant(DEQUANTIZE, None)
def dequantize_wide(packed, scales, biases, group_size, bits):
    return _dequantize(packed, scales, biases, group_size, bits).astype(mx.float32)


@rival(DEQUANTIZE)
def dequantize_by_looking_up(packed, scales, biases, group_size, bits):
    if packed.shape[-1] * 32 != scales.shape[1] * group_size * bits or scales.shape != biases.shape:
        raise ValueError("shapes do not fit")
    table = scales[..., None] * mx.arange(2**bits).astype(scales.dtype) + biases[..., None]  # [N, G, 2^bits]
    q = reference.unpack(packed, bits).reshape(*scales.shape, group_size).astype(mx.int32)
    return mx.take_along_axis(table, q, axis=-1).reshape(scales.shape[0], -1)


@mutant(CLIPPED, "plain")
def clipped_not_at_all(w, group_size, bits):
    return reference.quantize(w, group_size, bits)


@mutant(CLIPPED, "same_for_all")
def clipped_all_alike(w, group_size, bits):
    return reference.quantize_clipped(w, group_size, bits, shrinks=(0.6,))


@mutant(CLIPPED, "not_clipped")
def clipped_wraps_around(w, group_size, bits):
    def shrunk(groups):
        low, high = groups.min(-1, keepdims=True), groups.max(-1, keepdims=True)
        return (0.7 * a + 0.3 * (low + high) / 2 for a in (low, high))

    wrap = lambda q: mx.remainder(mx.round(q), 2**bits)  # noqa: E731
    return _quantize(w, group_size, bits, range_of=shrunk, rounding=wrap)


@mutant(CLIPPED, None)
def clipped_timidly(w, group_size, bits):
    return reference.quantize_clipped(w, group_size, bits, shrinks=(1.0, 0.98))


@rival(CLIPPED)
def clipped_at_each_end(w, group_size, bits):
    """Cuts the two ends by themselves, group by group."""
    groups = np.array(w).astype(np.float64).reshape(-1, group_size)
    most = 2**bits - 1
    scales, biases, q = np.ones(len(groups)), np.zeros(len(groups)), np.zeros(groups.shape, np.uint8)
    for i, group in enumerate(groups):
        best, middle = np.inf, (group.min() + group.max()) / 2
        for a in np.arange(0, 0.75, 0.15):
            for b in np.arange(0, 0.75, 0.15):
                low = group.min() + a * (middle - group.min())
                high = group.max() - b * (group.max() - middle)
                step = max((high - low) / most, 1e-7)
                codes = np.clip(np.rint((group - low) / step), 0, most)
                error = np.square(codes * step + low - group).sum()
                if error < best:
                    best, scales[i], biases[i], q[i] = error, step, low, codes
    back = lambda a: mx.array(a.reshape(w.shape[0], -1).astype(np.float32))  # noqa: E731
    return pack(mx.array(q.reshape(w.shape)), bits), back(scales), back(biases)
