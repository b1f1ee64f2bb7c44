"""Quantizing by groups, and back."""

import mlx.core as mx
import numpy as np

from ....techniques import quantization
from ...exercise import Exercise
from .packing import packed_by_definition

NAMES = {"mx": mx, "np": np}
BITS = (2, 3, 4, 6, 8)

quantize = Exercise(
    "quantization.quantize",
    "Groups of weights as integers, scales and biases",
    name="quantize",
    reference=quantization.quantize,
    names=NAMES,
    uses=("quantization.pack",),
    mistakes={
        "one_range": "All groups share one range. Each group of `group_size` neighbours has its own smallest and largest weight.",
        "strided_groups": "The groups are made of weights that lie K / group_size apart. A group is `group_size` neighbours: reshape to [N, K / group_size, group_size].",
        "floor": "The integers are cut off instead of rounded: errors reach a whole step. `mx.round` goes to the nearest.",
        "too_many_steps": "The step is `(high - low) / 2**bits`: the largest weight then needs an integer that does not fit. Between 2**bits values there are 2**bits - 1 steps.",
        "symmetric": "The range is centred on zero: half of it is unused where weights are not. The bias is the group's smallest weight.",
        "no_error": "A group_size that does not divide K is an error: raise ValueError.",
        "wide": "The scales and biases are not in the dtype of `w`. The arithmetic may be float32, what is kept is not.",
    },
)  # fmt: skip


def restored(result, group_size, bits):
    packed, scales, biases = result
    return mx.dequantize(packed, scales.astype(mx.float32), biases.astype(mx.float32), group_size=group_size, bits=bits)


def by_definition(w, group_size, bits, low=None, high=None, steps=None, rounding=np.rint):
    """What the weights become, in float64, by the range that each is given."""
    w = np.array(w.astype(mx.float32)).astype(np.float64)
    groups = w.reshape(w.shape[0], -1, group_size)
    low = groups.min(-1, keepdims=True) if low is None else low
    high = groups.max(-1, keepdims=True) if high is None else high
    step = np.maximum((high - low) / (steps or 2**bits - 1), 1e-7)
    q = np.clip(rounding((groups - low) / step), 0, 2**bits - 1)
    return mx.array((q * step + low).reshape(w.shape).astype(np.float32))


def symmetric(w, group_size, bits):
    groups = np.array(w).astype(np.float64).reshape(w.shape[0], -1, group_size)
    largest = np.abs(groups).max(-1, keepdims=True)
    return by_definition(w, group_size, bits, low=-largest, high=largest)


def strided(w, group_size, bits):
    """Groups along the wrong one of two axes, whose scales then meet other weights."""
    values = np.array(w.astype(mx.float32)).astype(np.float64).reshape(w.shape[0], group_size, -1)
    low, high = values.min(1), values.max(1)  # [N, K / group_size]
    step = np.maximum((high - low) / (2**bits - 1), 1e-7)
    q = np.rint((values - low[:, None]) / step[:, None]).reshape(w.shape[0], -1, group_size)
    return mx.array((q * step[..., None] + low[..., None]).reshape(w.shape).astype(np.float32))


def shapes(t, result, w, group_size, bits):
    t.true(
        isinstance(result, (tuple, list)) and len(result) == 3,
        f"quantize returns {type(result).__name__}.\nWanted: packed, scales, biases.",
    )
    for name, given, shape, dtype in zip(
        ("packed", "scales", "biases"), result,
        ([w.shape[0], w.shape[1] * bits // 32], [w.shape[0], w.shape[1] // group_size], [w.shape[0], w.shape[1] // group_size]),
        (mx.uint32, w.dtype, w.dtype), strict=True,
    ):  # fmt: skip
        t.true(isinstance(given, mx.array), f"{name} is {type(given).__name__}, not an MLX array.")
        t.equal(f"{name}.shape", list(given.shape), shape)
        t.true(given.dtype == dtype, f"{name}.dtype is {given.dtype}.\nWanted: {dtype}.", "wide")


def within_half_a_step(answer, t, w, group_size, bits, mistakes):
    what = f"quantize(w, group_size={group_size}, bits={bits})"
    result = answer(w, group_size, bits)
    shapes(t, result, w, group_size, bits)
    given = restored(result, group_size, bits)
    groups = np.array(w.astype(mx.float32)).astype(np.float64).reshape(w.shape[0], -1, group_size)
    step = (groups.max(-1) - groups.min(-1)) / (2**bits - 1)
    error = np.abs(np.array(given).reshape(groups.shape) - groups)
    precision = {mx.float32: 2e-6, mx.float16: 2e-3, mx.bfloat16: 1.6e-2}[w.dtype]
    allowed = step[..., None] * 0.5 + precision * np.abs(groups).max(-1, keepdims=True) + 1e-6
    wrong = ~(error <= allowed)
    if not wrong.any():
        return
    n, g, i = (int(v) for v in np.argwhere(wrong)[0])
    message = (
        f"{what}: {int(wrong.sum())} of {wrong.size} weights are off by more than half a step.\n"
        f"  at [{n}, {g * group_size + i}]  the weight {groups[n, g, i]:.6g} became {np.array(given)[n, g * group_size + i]:.6g}\n"
        f"  error {error[n, g, i]:.3g}, half a step of its group is {step[n, g] / 2:.3g}"
    )
    t.true(False, message, next((name for name, fits in mistakes.items() if _fits(fits, given)), None))


def _fits(wanted, given) -> bool:
    if callable(wanted):
        return bool(wanted(given))
    return bool(mx.allclose(given, wanted, rtol=1e-4, atol=1e-5).item())


def rounding_mistakes(w, group_size, bits):
    values = np.array(w.astype(mx.float32)).astype(np.float64)
    every = (values.min().reshape(1, 1, 1), values.max().reshape(1, 1, 1))
    return {
        "floor": by_definition(w, group_size, bits, rounding=np.floor),
        "too_many_steps": by_definition(w, group_size, bits, steps=2**bits),
        "one_range": by_definition(w, group_size, bits, *every),
        "symmetric": symmetric(w, group_size, bits),
        "strided_groups": strided(w, group_size, bits),
    }


@quantize.case("a group that can be worked out by hand")
def _(answer, t):
    w = t.watch("w", mx.array([[-1.0, 0.5, 2.0, 0.25] * 8]))
    packed, scales, biases = result = answer(w, 32, 2)
    shapes(t, result, w, 32, 2)
    within_half_a_step(answer, t, w, 32, 2, rounding_mistakes(w, 32, 2))
    if mx.abs(scales).item() == 1.0:  # the grid of the smallest and the largest weight, whichever way it is counted
        q = mx.array(np.tile([0, 2, 3, 1] if biases.item() == -1.0 else [3, 1, 0, 2], 8).astype(np.uint8))
        ties = mx.array(np.tile([0, 1, 3, 1] if biases.item() == -1.0 else [3, 2, 0, 2], 8).astype(np.uint8))
        words = [packed_by_definition(v[None], 2) for v in (q, ties)]  # 0.5 lies half way
        t.true(any(mx.array_equal(packed, x).item() for x in words), f"packed is {packed.tolist()}; wanted {words[0].tolist()}, the integers 0, 2, 3, 1 in turn.")


@quantize.case("no weight is off by more than half a step, for all numbers of bits")
def _(answer, t):
    for bits in BITS:
        for group_size in (32, 64):
            w = t.normal("w", 64, 192)
            within_half_a_step(answer, t, w, group_size, bits, rounding_mistakes(w, group_size, bits))


@quantize.case("weights far from zero")
def _(answer, t):
    w = t.watch("w", t.normal("z", 8, 64) * 0.01 + 3.0)
    within_half_a_step(answer, t, w, 32, 4, rounding_mistakes(w, 32, 4))


@quantize.case("groups of equal weights, and of zeros")
def _(answer, t):
    w = np.array(t.normal("z", 4, 96))
    w[0, :32], w[1, 32:64], w[2] = 0.0, 2.5, -1.0
    w = t.watch("w", mx.array(w))
    within_half_a_step(answer, t, w, 32, 4, {})


@quantize.case("one weight a thousand times as large as the rest")
def _(answer, t):
    w = np.array(t.normal("z", 4, 64))
    w[1, 40] = 1000.0
    w = t.watch("w", mx.array(w))
    within_half_a_step(answer, t, w, 32, 8, rounding_mistakes(w, 32, 8))


@quantize.case("float16 and bfloat16 stay what they are")
def _(answer, t):
    for dtype in (mx.float16, mx.bfloat16):
        w = t.normal("w", 8, 64, dtype=dtype)
        within_half_a_step(answer, t, w, 32, 4, {})


@quantize.case("a group_size that does not divide K is an error")
def _(answer, t):
    t.raises(ValueError, lambda: answer(t.normal("w", 4, 96), 64, 4), "quantize of [4, 96] in groups of 64", mistake="no_error")


dequantize = Exercise(
    "quantization.dequantize",
    "The weights that integers stand for",
    name="dequantize",
    reference=quantization.dequantize,
    names=NAMES,
    uses=("quantization.unpack",),
    mistakes={
        "no_bias": "The biases are missing: weight = scale * q + bias.",
        "bias_scaled": "The bias is multiplied by the scale. It is added to scale * q as it is.",
        "first_group": "Every weight of a row gets the scale and bias of its first group. Reshape to [N, K / group_size, group_size] first.",
        "tiled": "The scales go round, weight by weight, instead of staying for a group: repeat each scale, do not tile them.",
        "no_error": "Shapes that do not fit each other are an error: raise ValueError.",
    },
)


def dequantize_mistakes(packed, scales, biases, group_size, bits):
    one, zero = mx.ones_like(scales), mx.zeros_like(scales)
    q = mx.dequantize(packed, one, zero, group_size=group_size, bits=bits)
    N, K = q.shape
    each = lambda a: mx.repeat(a, group_size, axis=1)  # noqa: E731
    tiled = lambda a: mx.tile(a, (1, group_size))  # noqa: E731
    return {
        "no_bias": each(scales) * q,
        "bias_scaled": each(scales) * (q + each(biases)),
        "first_group": scales[:, :1] * q + biases[:, :1],
        "tiled": tiled(scales) * q + tiled(biases),
    }


def check_dequantize(answer, t, N, K, group_size, bits, dtype=mx.float32):
    w = t.normal("w", N, K).astype(dtype)
    arrays = [t.watch(name, a) for name, a in zip(("packed", "scales", "biases"), mx.quantize(w, group_size, bits), strict=True)]
    t.close(
        f"dequantize(packed, scales, biases, group_size={group_size}, bits={bits})",
        answer(*arrays, group_size, bits),
        mx.dequantize(*arrays, group_size=group_size, bits=bits),
        mistakes=dequantize_mistakes(*arrays, group_size, bits),
    )


@dequantize.case("4 bits in groups of 32")
def _(answer, t):
    check_dequantize(answer, t, 3, 96, 32, 4)


@dequantize.case("all numbers of bits, groups of 32, 64 and 128")
def _(answer, t):
    for bits in BITS:
        for group_size in (32, 64, 128):
            check_dequantize(answer, t, 5, 256, group_size, bits)


@dequantize.case("scales in float16: the weights are in float16, too")
def _(answer, t):
    check_dequantize(answer, t, 4, 64, 32, 4, mx.float16)


@dequantize.case("what does not fit is an error")
def _(answer, t):
    packed, scales, biases = mx.quantize(t.normal("w", 4, 128), 32, 4)
    t.raises(ValueError, lambda: answer(packed, scales, biases, 64, 4), "dequantize with twice the group_size", mistake="no_error")
    t.raises(ValueError, lambda: answer(packed, scales, biases[:, :2], 32, 4), "dequantize with half of the biases", mistake="no_error")


clipped = Exercise(
    "quantization.clipped",
    "A range that outliers do not stretch",
    name="quantize_clipped",
    reference=quantization.quantize_clipped,
    names=NAMES,
    uses=("quantization.pack",),
    stretch=True,
    mistakes={
        "plain": "The squared error is no smaller than that of the whole range. Try narrower ranges and keep, for each group, the best.",
        "same_for_all": "Some groups got worse than with their whole range. Choose for each group by itself, with the whole range among the choices.",
        "not_clipped": "Some integers do not fit their bits, and come out as small ones: what lies outside of the range has to be clipped to 0 or 2**bits - 1.",
    },
)


def heavy_tailed(t, N, K):
    return t.watch("w", mx.array(t.rng.standard_t(4, (N, K)).astype(np.float32)))


def errors_by_group(w, weights, group_size):
    difference = np.array(w).astype(np.float64) - np.array(weights).astype(np.float64)
    return np.square(difference).reshape(w.shape[0], -1, group_size).sum(-1)


@clipped.case("no group is worse than with its whole range")
def _(answer, t):
    for bits, group_size in ((2, 64), (3, 32), (4, 64)):
        w = heavy_tailed(t, 32, 192)
        result = answer(w, group_size, bits)
        shapes(t, result, w, group_size, bits)
        given = restored(result, group_size, bits)
        before, after = errors_by_group(w, by_definition(w, group_size, bits), group_size), errors_by_group(w, given, group_size)
        worse = after > before * 1.001 + 1e-9
        # Where integers that do not fit come out small, a group's largest weight falls below its smallest.
        groups, after_all = (np.array(a).reshape(-1, group_size) for a in (w, given))
        rows = np.arange(len(groups))
        wrapped = (after_all[rows, groups.argmax(-1)] < after_all[rows, groups.argmin(-1)]).any()
        t.true(
            not worse.any(),
            f"{int(worse.sum())} of {worse.size} groups have a larger squared error than with their whole range ({bits} bits).",
            "not_clipped" if wrapped else "same_for_all",
        )


@clipped.case("on heavy-tailed weights the squared error falls")
def _(answer, t):
    for bits, share in ((2, 0.7), (3, 0.9)):
        w = heavy_tailed(t, 64, 192)
        before = errors_by_group(w, by_definition(w, 64, bits), 64).sum()
        after = errors_by_group(w, restored(answer(w, 64, bits), 64, bits), 64).sum()
        t.true(
            after <= share * before,
            f"The squared error at {bits} bits is {after / before:.2f} of that with the whole range.\nWanted: at most {share}.",
            "plain" if after > 0.999 * before else None,
        )


@clipped.case("groups of equal weights")
def _(answer, t):
    w = t.watch("w", mx.array(np.full((2, 64), 1.5, np.float32)))
    t.close("the weights restored", restored(answer(w, 32, 3), 32, 3), w + 0)
