"""Wrong and right ways to multiply with packed weights."""

import mlx.core as mx
import numpy as np

from course_lib.techniques import quantization as reference

from .. import mutant, rival

MATMUL = "quantization.matmul"


def _weights(packed, scales, biases, group_size, bits):
    return reference.dequantize(packed, scales, biases, group_size, bits)


@mutant(MATMUL, "no_bias")
def matmul_without_bias(x, packed, scales, biases, group_size, bits):
    return reference.quantized_matmul(x, packed, scales, mx.zeros_like(biases), group_size, bits)


@mutant(MATMUL, "bias_once")
def matmul_bias_once(x, packed, scales, biases, group_size, bits):
    return reference.quantized_matmul(x, packed, scales, mx.zeros_like(biases), group_size, bits) + biases.sum(-1)


@mutant(MATMUL, "first_group")
def matmul_first_group(x, packed, scales, biases, group_size, bits):
    same = lambda a: mx.broadcast_to(a[:, :1], a.shape)  # noqa: E731
    return reference.quantized_matmul(x, packed, same(scales), same(biases), group_size, bits)


@mutant(MATMUL, "not_transposed")
def matmul_not_transposed(x, packed, scales, biases, group_size, bits):
    return x @ _weights(packed, scales, biases, group_size, bits)


@mutant(MATMUL, "no_error")
def matmul_cuts_the_weights(x, packed, scales, biases, group_size, bits):
    return x @ _weights(packed, scales, biases, group_size, bits)[:, : x.shape[-1]].T


@mutant(MATMUL, None)
def matmul_in_half(x, packed, scales, biases, group_size, bits):
    w = _weights(packed, scales, biases, group_size, bits)
    if x.shape[-1] != w.shape[1]:
        raise ValueError("K")
    return (x.astype(mx.float16) @ w.astype(mx.float16).T).astype(mx.float32)


@mutant(MATMUL, None)
def matmul_flattens(x, packed, scales, biases, group_size, bits):
    y = reference.quantized_matmul(x, packed, scales, biases, group_size, bits)
    return y.reshape(-1, y.shape[-1])


@rival(MATMUL)
def matmul_row_by_row(x, packed, scales, biases, group_size, bits):
    K = scales.shape[1] * group_size
    if x.shape[-1] != K:
        raise ValueError(f"x has {x.shape[-1]} columns, wanted {K}")
    columns = []
    for n in range(packed.shape[0]):
        row = _weights(packed[n : n + 1], scales[n : n + 1], biases[n : n + 1], group_size, bits)
        columns.append(np.array(x) @ np.array(row[0]))
    return mx.array(np.stack(columns, axis=-1))
