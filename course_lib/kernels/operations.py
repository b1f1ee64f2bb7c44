"""The native operations. Each is computed when MLX evaluates its result, on the CPU, in float32.

All take `stream`, a CPU stream or device; without it they run where MLX's own operations would, and
raise ValueError if that is a GPU. Inputs need not be contiguous.

B batch, L queries, S keys, H query heads, H_kv key/value heads, D head size, K and N input and output
features.
"""

from typing import Literal

import mlx.core as mx

from course_lib.kernels.extension import extension

Where = mx.Stream | mx.Device | None


def quantized_matmul(
    x: mx.array,
    w: mx.array,
    scales: mx.array,
    biases: mx.array,
    group_size: int = 64,
    bits: int = 4,
    *,
    stream: Where = None,
) -> mx.array:
    """x times the transpose of a quantized matrix: `mx.quantized_matmul` with transpose=True.

    A row of the result depends on its row of x alone, to the last bit: not on how many rows there are,
    nor on the number of threads.

    Args:
        x: float32 [..., K].
        w: uint32 [N, K * bits / 32], packed as by `mx.quantize`.
        scales, biases: [N, K / group_size], both float16, bfloat16 or float32.
        group_size: 32, 64 or 128.
        bits: 4 or 8.

    Returns:
        float32 [..., N].

    Raises:
        ValueError: a shape, dtype, group_size or bits that is not as above.
        NotBuilt: the kernels are not built.
    """
    return extension().quantized_matmul(x, (w, scales, biases, group_size, bits), stream)


def int8_matmul(
    x: mx.array,
    w: mx.array,
    scales: mx.array,
    biases: mx.array,
    group_size: int = 64,
    bits: int = 4,
    *,
    stream: Where = None,
) -> mx.array:
    """`quantized_matmul` with x rounded to 8 bits first: faster, and no longer the same.

    Each 32 neighbouring features of a row are rounded to whole multiples of a 127th of the largest of them
    (LLM.int8()'s absmax quantization, https://arxiv.org/abs/2208.07339, in llama.cpp's small groups). A row
    of the result depends on its row of x alone, to the last bit.

    Each call evaluates w, scales and biases and lays them out anew, which takes longer than the product; a model's
    parts do it once.

    Args, returns and errors are those of `quantized_matmul`; x must be finite.
    """
    ext = extension()
    return ext.linear(x, ext.Weight((w, scales, biases, group_size, bits), None, True), stream)


def scaled_dot_product_attention(
    queries: mx.array,
    keys: mx.array,
    values: mx.array,
    *,
    scale: float,
    mask: mx.array | Literal["causal"] | None = None,
    stream: Where = None,
) -> mx.array:
    """softmax(scale * queries keys^T + mask) values: `mx.fast.scaled_dot_product_attention`.

    In tiles, with an online softmax (FlashAttention, https://arxiv.org/abs/2205.14135): memory beside
    the result is a few hundred KiB, whatever S is. Slices of a cache are read in place. A query's result
    depends, to the last bit, on that query and the keys and values up to the last one it may attend to:
    not on L, on later keys, on the batch or on the number of threads.

    Args:
        queries: float32 [B, H, L, D], D at most 256.
        keys, values: float32 [B, H_kv, S, D]; query head h reads key/value head h // (H / H_kv).
        scale: multiplies the scores; usually D ** -0.5.
        mask: None; "causal", where query l sees keys 0 to S - L + l (needs L <= S); or an array that
            broadcasts to [B, H, L, S], bool (True: may attend) or floating (added to the scores).

    Returns:
        float32 [B, H, L, D]; zeros for a query that may attend to no key (MLX's gives their mean).

    Raises:
        ValueError: a shape or dtype that is not as above.
        NotBuilt: the kernels are not built.
    """
    if isinstance(mask, str):
        if mask != "causal":
            raise ValueError(
                f"scaled_dot_product_attention: mask is {mask!r}; wanted an array, 'causal' or None"
            )
        return extension().attention(queries, keys, values, scale, True, None, stream)
    return extension().attention(queries, keys, values, scale, False, mask, stream)


def rms_norm(x: mx.array, weight: mx.array, eps: float, *, stream: Where = None) -> mx.array:
    """x / sqrt(mean(x^2) + eps) * weight over the last axis: `mx.fast.rms_norm`.

    Args:
        x: float32 [..., D].
        weight: [D], float16, bfloat16 or float32.

    Returns:
        float32 [..., D]. A row depends on its row of x alone, to the last bit.

    Raises:
        ValueError: a shape or dtype that is not as above.
        NotBuilt: the kernels are not built.
    """
    return extension().rms_norm(x, weight, eps, stream)


def rope(
    x: mx.array,
    dims: int,
    *,
    traditional: bool = False,
    base: float | None = None,
    scale: float = 1.0,
    offset: int | mx.array = 0,
    freqs: mx.array | None = None,
    stream: Where = None,
) -> mx.array:
    """Rotary position embedding (https://arxiv.org/abs/2104.09864): `mx.fast.rope`.

    The angles are computed in double, so that far positions are as exact as near ones.

    Args:
        x: float32 [B, ..., L, D]; the token at index l stands at position offset + l.
        dims: features that are rotated, the first ones; even.
        traditional: pair feature 2i with 2i + 1, else i with i + dims / 2.
        base: pair i turns by position * scale * base^(-2i / dims).
        offset: an integer, or integers [B], one a row.
        freqs: float32 [dims / 2], instead of base: pair i turns by position * scale / freqs[i].

    Returns:
        float32, as x. A token depends on itself and its position alone, to the last bit.

    Raises:
        ValueError: a shape or dtype that is not as above, or both or none of base and freqs.
        NotBuilt: the kernels are not built.
    """
    return extension().rope(x, dims, traditional, base, scale, offset, freqs, stream)


def swiglu(gate: mx.array, up: mx.array, *, stream: Where = None) -> mx.array:
    """silu(gate) * up, the gated activation of Llama's MLP (https://arxiv.org/abs/2002.05202).

    Args:
        gate, up: float32, of the same shape [..., F].

    Returns:
        float32 [..., F]. A row depends on its row of gate and up alone, to the last bit.

    Raises:
        ValueError: a shape or dtype that is not as above.
        NotBuilt: the kernels are not built.
    """
    return extension().swiglu(gate, up, stream)
