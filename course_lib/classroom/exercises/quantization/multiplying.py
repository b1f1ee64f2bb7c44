"""Quantized matmul in Python."""

import mlx.core as mx
import numpy as np

from ....techniques import quantization
from ...exercise import Exercise
from .rounding import dequantize_mistakes

NAMES = {"mx": mx, "np": np}

matmul = Exercise(
    "quantization.matmul",
    "Multiplying with packed weights",
    name="quantized_matmul",
    reference=quantization.quantized_matmul,
    names=NAMES,
    uses=("quantization.unpack",),
    mistakes={
        "no_bias": "The biases are missing: each group adds bias * (sum of its x).",
        "bias_once": "Each bias is added once a group. It belongs to every weight of the group, so it meets the sum of the group's x.",
        "first_group": "All groups get the scale and bias of the first.",
        "not_transposed": "W is [N, K] and y is x times its transpose: y[m, n] = sum over k of x[m, k] * W[n, k].",
        "no_error": "An x that does not fit the matrix is an error: raise ValueError.",
    },
)


def check_matmul(answer, t, shape, N, group_size, bits):
    K = shape[-1]
    x, w = t.normal("x", *shape), t.normal("w", N, K)
    arrays = [t.watch(name, a) for name, a in zip(("packed", "scales", "biases"), mx.quantize(w, group_size, bits), strict=True)]
    weights = np.array(mx.dequantize(*arrays, group_size=group_size, bits=bits)).astype(np.float64)
    exact = np.array(x).astype(np.float64)
    times = lambda v: mx.array((exact @ np.array(v).astype(np.float64).T).astype(np.float32))  # noqa: E731
    wrong = dequantize_mistakes(*arrays, group_size, bits)
    once = times(wrong["no_bias"]) + mx.array(np.array(arrays[2]).sum(-1))
    t.close(
        f"quantized_matmul(x, packed, scales, biases, group_size={group_size}, bits={bits})",
        answer(x, *arrays, group_size, bits),
        times(weights),
        mistakes={"no_bias": times(wrong["no_bias"]), "first_group": times(wrong["first_group"]), "bias_once": once},
        atol=2e-5 * K**0.5,
    )


@matmul.case("one token", errors={"not_transposed": r"ValueError.*(matmul|shape|dimension|broadcast)"})
def _(answer, t):
    check_matmul(answer, t, (1, 96), 5, 32, 4)


@matmul.case("several tokens, all numbers of bits")
def _(answer, t):
    for bits in (2, 3, 4, 6, 8):
        for group_size in (32, 64, 128):
            check_matmul(answer, t, (7, 256), 9, group_size, bits)


@matmul.case("leading dimensions stay as they are")
def _(answer, t):
    check_matmul(answer, t, (2, 3, 64), 5, 32, 4)
    check_matmul(answer, t, (64,), 5, 32, 4)


@matmul.case("no tokens")
def _(answer, t):
    packed, scales, biases = mx.quantize(t.normal("w", 5, 64), 32, 4)
    t.equal("the shape for x [0, 64]", list(answer(mx.zeros((0, 64)), packed, scales, biases, 32, 4).shape), [0, 5])


@matmul.case("an x of another K is an error")
def _(answer, t):
    packed, scales, biases = mx.quantize(t.normal("w", 5, 128), 32, 4)
    t.raises(ValueError, lambda: answer(t.normal("x", 2, 64), packed, scales, biases, 32, 4), "quantized_matmul of x [2, 64] with 128 columns", mistake="no_error")
