"""What the check asks of the Metal kernels, with the values that known mistakes would give.

The oracle is the definition in float64, on the weights that `mx.dequantize` gives in float32. What may be off follows
from the dtype: each weight and the result may be rounded to it once; sums are float32.
"""

from dataclasses import dataclass
from functools import cached_property

import mlx.core as mx
import numpy as np

from ...native.ladder import MetalProblem

LANES = 32
FEW = 4  # tokens of a SIMD-group of "few_tokens"
EPSILON = {mx.float32: 2.0**-23, mx.float16: 2.0**-10, mx.bfloat16: 2.0**-7}


@dataclass(frozen=True)
class Matrix:
    """A quantized matrix: its arrays as a kernel takes them, and its parts in float64."""

    words: mx.array  # uint32 [N, K * bits / 32]
    scales: mx.array  # [N, K / group_size]
    biases: mx.array  # [N, K / group_size]
    group_size: int
    bits: int

    @property
    def per_word(self) -> int:
        return 32 // self.bits

    @cached_property
    def integers(self) -> np.ndarray:
        """[N, K]"""
        words = np.array(self.words).astype(np.uint64)[..., None]
        shifts = np.arange(self.per_word, dtype=np.uint64) * np.uint64(self.bits)
        unpacked = words >> shifts & np.uint64(2**self.bits - 1)
        return unpacked.reshape(len(words), -1).astype(np.float64)

    @cached_property
    def scale(self) -> np.ndarray:
        """Of each weight, [N, K]."""
        return np.repeat(_wide(self.scales), self.group_size, axis=1)

    @cached_property
    def bias(self) -> np.ndarray:
        return np.repeat(_wide(self.biases), self.group_size, axis=1)

    @cached_property
    def weights(self) -> np.ndarray:
        """What MLX says that they are, [N, K]."""
        scales, biases = (a.astype(mx.float32) for a in (self.scales, self.biases))
        return _wide(mx.dequantize(self.words, scales, biases, group_size=self.group_size, bits=self.bits))


def random_matrix(N: int, K: int, group_size: int, bits: int, dtype: mx.Dtype, seed: int = 0) -> Matrix:
    weights = mx.random.normal((N, K), key=mx.random.key(seed)).astype(dtype)
    return Matrix(*mx.quantize(weights, group_size, bits), group_size, bits)


def random_tokens(M: int, K: int, dtype: mx.Dtype, seed: int = 100) -> mx.array:
    return mx.random.normal((M, K), key=mx.random.key(seed)).astype(dtype)


def problem(rung: str, x: mx.array, w: Matrix, what: str = "") -> MetalProblem:
    """The product of x [M, K] with w, transposed."""
    tokens = _wide(x)
    wanted = tokens @ w.weights.T
    M, K = tokens.shape
    name = str(x.dtype).removeprefix("mlx.core.")
    allowed = tolerance(tokens, w, EPSILON[x.dtype])
    # Nearly right everywhere: no term is missing, but precision.
    nearly = {"half_sums": lambda values: x.dtype != mx.float32 and bool((np.abs(values - wanted) < 4 * allowed).all())}
    return MetalProblem(
        f"x [{M}, {K}] {name}{what}, w [{len(w.weights)}, {K}], {w.bits} bits in groups of {w.group_size}",
        (x, w.words, w.scales, w.biases, w.group_size, w.bits),
        wanted,
        allowed,
        mistakes(rung, tokens, w) | nearly,
    )


def tolerance(tokens: np.ndarray, w: Matrix, epsilon: float) -> np.ndarray:
    """[M, N]: the result rounded once and each weight once, and float32 sums of K terms in any order.

    Roundings of weights are independent: of a sum of K, four times the root of the squares is seven standard deviations.
    """
    absolute = np.abs(tokens)
    rounded = np.abs(tokens @ w.weights.T) + 4 * np.sqrt(absolute**2 @ (w.weights**2).T)
    terms = absolute @ (np.abs(w.scale) * w.integers + np.abs(w.bias)).T
    return epsilon / 2 * rounded + tokens.shape[1] * 2.0**-24 * terms


def mistakes(rung: str, tokens: np.ndarray, w: Matrix) -> dict:
    """Name of a mistake -> the [M, N] that it gives."""
    reversed_words = w.integers.reshape(len(w.integers), -1, w.per_word)[..., ::-1].reshape(w.integers.shape)
    first = (w.scale[:, :1], w.bias[:, :1])
    given = {
        "nibbles_swapped": tokens @ (w.scale * reversed_words + w.bias).T,
        "no_bias": tokens @ (w.scale * w.integers).T,
        "first_group": tokens @ (first[0] * w.integers + first[1]).T,
        "not_transposed": _not_transposed(tokens, w.weights),
        "first_token": tokens[np.arange(len(tokens)) // FEW * FEW] @ w.weights.T,
        "missing_outputs": lambda values: bool(np.isnan(values).any()),
    }
    # Which weights a lane has: "rows" takes two words at a time.
    taken = np.arange(tokens.shape[1]) // (w.per_word * (2 if rung in ("rows", "few_tokens") else 1))
    whole = (taken[-1] + 1) // LANES * LANES
    for name, kept in (("half_the_lanes", taken % LANES < LANES // 2), ("one_lane", taken % LANES == 0), ("last_round", taken < whole)):
        given[name] = tokens[:, kept] @ w.weights[:, kept].T
    each = w.bias.reshape(len(w.bias), -1, 2 * w.per_word)[..., 0] if tokens.shape[1] % (2 * w.per_word) == 0 else np.zeros((len(w.bias), 1))
    given["bias_once"] = given["no_bias"] + each.sum(axis=1)
    return given


def _not_transposed(tokens: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Each 8 x 8 block of w used as it lies instead of transposed."""
    N, K = weights.shape
    blocks = np.pad(weights, ((0, -N % 8), (0, 0))).reshape(-1, 8, K // 8, 8).swapaxes(1, 3)
    return tokens @ blocks.reshape(-1, K)[:N].T


def long_sums(rung: str) -> MetalProblem:
    """A sum that begins large and goes on in small steps: kept in half precision, the steps are lost.

    All is representable in float16, so nothing but the result may be rounded.
    """
    head, K, N = 256, 2048, 5
    integers = np.where(np.arange(K) < head, 8, 1)
    words = (integers.reshape(-1, 8).astype(np.uint64) << np.arange(0, 32, 4, dtype=np.uint64)).sum(axis=1)
    words = mx.array(np.tile(words.astype(np.uint32), (N, 1)))
    scales = mx.ones((N, K // 32), mx.float16)
    w = Matrix(words, scales, mx.zeros_like(scales), 32, 4)
    x = mx.array(np.where(np.arange(K) < head, 8, 7 / 512).astype(np.float16))[None]
    made = problem(rung, x, w)
    wanted = made.wanted
    close = {"half_sums": lambda values: bool((np.abs(values - wanted) < 0.01 * wanted).all())}
    return MetalProblem(
        f"{made.words}, the first {head} terms 64, the others 7/512",
        made.arguments, wanted, 1.001 * EPSILON[mx.float16] / 2 * wanted, made.mistakes | close,
    )  # fmt: skip


def problems(rung: str, case: str) -> list[MetalProblem]:
    """What a case asks of a rung."""
    return CASES[case](rung)


def _one_token(rung):
    return [problem(rung, random_tokens(1, 512, mx.float16), random_matrix(8, 512, 32, 4, mx.float16))]


def _ragged(rung):
    sizes = ((37, 320), (3, 32), (33, 864))
    return [problem(rung, random_tokens(1, K, mx.float16), random_matrix(N, K, 32, 4, mx.float16)) for N, K in sizes]


def _tokens(rung):
    wide = random_tokens(10, 192, mx.float16)
    return [problem(rung, wide[1::3, 64:], random_matrix(6, 128, 32, 4, mx.float16), ", a slice")]


def _tiles(rung):
    sizes = ((32, 32), (37, 70), (70, 5))
    return [problem(rung, random_tokens(M, 96, mx.float16), random_matrix(N, 96, 32, 4, mx.float16)) for M, N in sizes]


def _bfloat(rung):
    return [problem(rung, random_tokens(2, 192, mx.bfloat16), random_matrix(9, 192, 64, 4, mx.bfloat16))]


def _float(rung):
    return [problem(rung, random_tokens(2, 384, mx.float32), random_matrix(9, 384, 128, 4, mx.float32))]


def _eight_bits(rung):
    return [problem(rung, random_tokens(2, 192, mx.float16), random_matrix(9, 192, 64, 8, mx.float16))]


CASES = {
    "one_token": _one_token,
    "ragged": _ragged,
    "tokens": _tokens,
    "tiles": _tiles,
    "bfloat": _bfloat,
    "float": _float,
    "eight_bits": _eight_bits,
    "sums": lambda rung: [long_sums(rung)],
}


def _wide(array: mx.array) -> np.ndarray:
    return np.array(array.astype(mx.float32)).astype(np.float64)
