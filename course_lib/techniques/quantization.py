"""Group-wise affine quantization: each group of weights becomes small integers, a scale and a bias.

    weight[n, k]  ~  scales[n, g] * q[n, k] + biases[n, g],    g = k // group_size,  0 <= q < 2^bits

The integers are packed without gaps into words of 32 bits, the first in the lowest bits. The format is that of
`mx.quantize` (mode "affine"), so what is made here can be used there and the other way round.

Decoding reads every weight once a token: at 4 bits and one scale and bias of 16 bits for 32 weights, that is 5 bits
a weight instead of 16 or 32.

Read: the group-wise scheme as in "LLM.int8()" (https://arxiv.org/abs/2208.07339, vector-wise) and GGUF's Q4_1.
"""

import mlx.core as mx
import numpy as np

BITS = (2, 3, 4, 6, 8)


def pack(q: mx.array, bits: int) -> mx.array:
    """Integers of a few bits, side by side in words of 32 bits.

    Args:
        q: integers [..., K] from 0 to 2^bits - 1; K * bits is a multiple of 32.
        bits: 2, 3, 4, 6 or 8.

    Returns:
        uint32 [..., K * bits / 32]. Read as one long row of bits, lowest first, integer k stands at
        k * bits; with 3 or 6 bits some begin in one word and end in the next.

    Raises:
        ValueError: another number of bits, or a K that fills no whole words.
    """
    _check_bits(bits)
    K = q.shape[-1]
    if K * bits % 32:
        raise ValueError(f"{K} integers of {bits} bits are {K * bits} bits; wanted a multiple of 32")
    # A byte each, spread into its bits: the upper ones, always 0, are left out.
    each = np.unpackbits(np.array(q).astype(np.uint8)[..., None], axis=-1, count=bits, bitorder="little")
    row = each.reshape(*q.shape[:-1], K * bits)
    return mx.array(np.packbits(row, axis=-1, bitorder="little").view("<u4").astype(np.uint32))


def unpack(words: mx.array, bits: int) -> mx.array:
    """The integers in packed words: the reverse of `pack`.

    Args:
        words: uint32 [..., W]; W * 32 is a multiple of `bits`.
        bits: 2, 3, 4, 6 or 8.

    Returns:
        uint8 [..., W * 32 / bits].

    Raises:
        ValueError: another number of bits, or words that hold no whole number of integers.
    """
    _check_bits(bits)
    W = words.shape[-1]
    if W * 32 % bits:
        raise ValueError(f"{W} words are {W * 32} bits; wanted a multiple of {bits}")
    bytes_ = np.array(words).astype("<u4").view(np.uint8)
    each = np.unpackbits(bytes_, axis=-1, bitorder="little").reshape(*words.shape[:-1], W * 32 // bits, bits)
    return mx.array(np.packbits(each, axis=-1, bitorder="little")[..., 0])


def quantize(
    w: mx.array, group_size: int, bits: int, *, exact_zero: bool = False
) -> tuple[mx.array, mx.array, mx.array]:
    """Round each group of weights to 2^bits evenly spaced values, from its smallest to its largest.

    Args:
        w: floating [N, K].
        group_size: neighbours in a row that share a scale and a bias; it divides K.
        bits: 2, 3, 4, 6 or 8.
        exact_zero: shift the values so that one of them is exactly 0, as `mx.quantize` does: what comes out
            is then equal to its. The shift can push the far end of a group up to a whole step out of range.

    Returns:
        packed uint32 [N, K * bits / 32], and scales and biases [N, K / group_size] in the dtype of w. Without
        `exact_zero` no weight is off by more than half a scale (and the rounding of w's dtype).

    Raises:
        ValueError: another number of bits, a shape that is not [N, K], or a group_size that does not divide K.
    """
    _check_bits(bits)
    if w.ndim != 2 or w.shape[1] % group_size:
        raise ValueError(f"w is {list(w.shape)}; wanted [N, K] with K a multiple of group_size {group_size}")
    N, K = w.shape
    groups = w.reshape(N, K // group_size, group_size).astype(mx.float32)
    low, high = groups.min(axis=-1, keepdims=True), groups.max(axis=-1, keepdims=True)
    # A group of equal weights has no step: any but 0 will do, to divide by.
    scales = mx.maximum((high - low) / (2**bits - 1), 1e-7)
    biases = low
    if exact_zero:
        scales, biases = _through_zero(scales, low, high)
    q = mx.clip(mx.round((groups - biases) / scales), 0, 2**bits - 1)
    packed = pack(q.astype(mx.uint8).reshape(N, K), bits)
    return packed, scales[..., 0].astype(w.dtype), biases[..., 0].astype(w.dtype)


def _through_zero(scales, low, high):
    """Scales and biases of `mx.quantize`: counted from the end that is farther from zero, towards zero."""
    from_low = mx.abs(low) > mx.abs(high)
    edge = mx.where(from_low, low, high)
    scales = mx.where(from_low, scales, -scales)
    steps = mx.round(edge / scales)  # from the edge to zero
    whole = steps != 0
    return mx.where(whole, edge / mx.where(whole, steps, 1), scales), mx.where(whole, edge, 0.0)


def dequantize(packed: mx.array, scales: mx.array, biases: mx.array, group_size: int, bits: int) -> mx.array:
    """The weights that packed integers stand for.

    Args:
        packed: uint32 [N, K * bits / 32].
        scales, biases: floating [N, K / group_size].

    Returns:
        [N, K] in the dtype of the scales.

    Raises:
        ValueError: shapes that do not fit each other, or another number of bits.
    """
    q = _integers(packed, scales, biases, group_size, bits)  # [N, G, group_size]
    weights = scales[..., None] * q.astype(scales.dtype) + biases[..., None]
    return weights.reshape(q.shape[0], -1)


def quantized_matmul(
    x: mx.array, packed: mx.array, scales: mx.array, biases: mx.array, group_size: int, bits: int
) -> mx.array:
    """x times the transpose of a quantized matrix, without its weights ever being there as floats.

    In a group the scale and the bias are the same for all k, so they move out of the sum:

        sum_k x[k] (s q[k] + b)  =  s * sum_k x[k] q[k]  +  b * sum_k x[k]

    Args:
        x: floating [..., K].
        packed: uint32 [N, K * bits / 32].
        scales, biases: [N, K / group_size].

    Returns:
        float32 [..., N].

    Raises:
        ValueError: shapes that do not fit each other, or another number of bits.
    """
    q = _integers(packed, scales, biases, group_size, bits)
    N, G, _ = q.shape
    if x.shape[-1] != G * group_size:
        raise ValueError(f"x is {list(x.shape)} and the matrix has {G * group_size} columns; wanted x [..., K] of the same K")
    rows = x.reshape(-1, G, group_size).astype(mx.float32)  # [M, G, group_size]
    products = rows.swapaxes(0, 1) @ q.transpose(1, 2, 0).astype(mx.float32)  # [G, M, N]
    scaled = (products * scales.T[:, None].astype(mx.float32)).sum(axis=0)
    y = scaled + rows.sum(axis=-1) @ biases.T.astype(mx.float32)
    return y.reshape(*x.shape[:-1], N)


def quantize_clipped(
    w: mx.array, group_size: int, bits: int, shrinks: tuple[float, ...] = tuple(np.arange(1.0, 0.29, -0.05).tolist())
) -> tuple[mx.array, mx.array, mx.array]:
    """As `quantize`, over the part of each group's range that gives the smallest squared error.

    One weight far from all others stretches the steps of its whole group. Cutting it off makes a large error
    of one weight and smaller ones of the rest. Each group tries several ranges, shrunk towards its middle.

    Args:
        shrinks: shares of the range that are tried; with 1.0 among them no group gets worse.

    Returns, Raises:
        As `quantize`.

    The search for a clipping range as in "OmniQuant", https://arxiv.org/abs/2308.13137, here by trying.
    """
    _check_bits(bits)
    if w.ndim != 2 or w.shape[1] % group_size:
        raise ValueError(f"w is {list(w.shape)}; wanted [N, K] with K a multiple of group_size {group_size}")
    N, K = w.shape
    groups = w.reshape(N, K // group_size, group_size).astype(mx.float32)
    low, high = groups.min(axis=-1, keepdims=True), groups.max(axis=-1, keepdims=True)
    middle, half = (low + high) / 2, (high - low) / 2
    best = None
    for shrink in shrinks:
        bias = middle - shrink * half
        scale = mx.maximum(2 * shrink * half / (2**bits - 1), 1e-7)
        q = mx.clip(mx.round((groups - bias) / scale), 0, 2**bits - 1)
        error = mx.square(scale * q + bias - groups).sum(axis=-1, keepdims=True)
        if best is None:
            best = error, scale, bias, q
        else:
            better = error < best[0]
            best = tuple(mx.where(better, new, old) for new, old in zip((error, scale, bias, q), best, strict=True))
    _, scale, bias, q = best
    packed = pack(q.astype(mx.uint8).reshape(N, K), bits)
    return packed, scale[..., 0].astype(w.dtype), bias[..., 0].astype(w.dtype)


def _integers(packed, scales, biases, group_size, bits) -> mx.array:
    """The checked integers, [N, K / group_size, group_size]."""
    _check_bits(bits)
    N, G = scales.shape
    wanted = [N, G * group_size * bits // 32]
    if list(packed.shape) != wanted or biases.shape != scales.shape:
        raise ValueError(
            f"packed is {list(packed.shape)}, scales are {list(scales.shape)} and biases {list(biases.shape)}; wanted "
            f"packed {wanted} for {G} groups of {group_size} weights of {bits} bits, and as many biases as scales"
        )
    return unpack(packed, bits).reshape(N, G, group_size)


def _check_bits(bits: int) -> None:
    if bits not in BITS:
        raise ValueError(f"bits is {bits}; wanted one of {', '.join(map(str, BITS))}")
