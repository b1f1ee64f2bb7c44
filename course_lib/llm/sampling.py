"""From logits to the next token.

Each request draws from its own random stream, a chain of keys split from its seed, so that what it
says does not depend on what else is being generated.
"""

import math
import secrets
from dataclasses import dataclass, fields
from typing import Any

import mlx.core as mx
import numpy as np


@dataclass(frozen=True)
class SamplingParams:
    """How to choose a token. The default is greedy.

    Attributes:
        temperature: 0 takes the most probable token; else logits are divided by it before sampling.
        top_p: sample among the fewest most probable tokens that hold this much probability
            (nucleus sampling, https://arxiv.org/abs/1904.09751). In (0, 1]; 1 keeps all.
        min_p: drop tokens less probable than this share of the most probable one
            (https://arxiv.org/abs/2407.01082). In [0, 1]; 0 keeps all.
        seed: starts the random stream; None takes a fresh one.

    Raises:
        ValueError: a value out of its range.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int | None = None

    def __post_init__(self) -> None:
        _check("temperature", self.temperature, "a number, 0 or more", lambda t: 0 <= t < math.inf)
        _check("top_p", self.top_p, "a number above 0 and at most 1", lambda p: 0 < p <= 1)
        _check("min_p", self.min_p, "a number from 0 to 1", lambda p: 0 <= p <= 1)
        if self.seed is not None and (type(self.seed) is not int or not 0 <= self.seed < 2**63):
            raise ValueError(f"seed={self.seed!r}; wanted an integer from 0 to 2^63 - 1, or None")

    @classmethod
    def from_options(cls, options: dict[str, Any]) -> "SamplingParams":
        """From options by name.

        Raises:
            ValueError: an unknown name or a value out of its range.
        """
        known = [field.name for field in fields(cls)]
        if unknown := [name for name in options if name not in known]:
            raise ValueError(
                f"unknown sampling parameter {', '.join(map(repr, unknown))}; there are {', '.join(known)}"
            )
        return cls(**options)


def _check(name: str, value: Any, wanted: str, fits: Any) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not fits(value):
        raise ValueError(f"{name}={value!r}; wanted {wanted}")


class Sampler:
    """Chooses tokens for one request, from its own random stream."""

    def __init__(self, params: SamplingParams) -> None:
        self.params = params
        seed = secrets.randbits(63) if params.seed is None else params.seed
        self._key = mx.random.key(seed)

    def __call__(self, logits: mx.array) -> mx.array:
        """One token a row.

        Args:
            logits: [..., V].

        Returns:
            Token ids [...], uint32. Lazy on a GPU, and where the temperature is 0.
        """
        if self.params.temperature == 0:
            return mx.argmax(logits, axis=-1)
        self._key, key = mx.random.split(self._key)
        if mx.default_device() == mx.cpu:
            return drawn_on_cpu(logits, self.params, key)
        return mx.random.categorical(sampling_logits(logits, self.params), key=key)


def sampling_logits(logits: mx.array, params: SamplingParams) -> mx.array:
    """The logits [..., V] to draw from, in float32: scaled, and -inf for what was filtered out.

    Temperature comes first, so that top_p and min_p filter the distribution that is sampled, as in
    vLLM and transformers (mlx-lm filters first). The most probable token always stays.
    """
    logits = logits.astype(mx.float32)
    # Less the maximum before dividing, and not by next to nothing: no overflow, no 0 / 0.
    logits = (logits - mx.max(logits, axis=-1, keepdims=True)) / max(params.temperature, 1e-6)
    kept = mx.ones_like(logits).astype(mx.bool_)
    if params.top_p < 1:
        kept = kept & (logits >= _nucleus_edge(logits, params.top_p))
    if params.min_p > 0:
        kept = kept & (logits >= math.log(params.min_p))  # the maximum is 0 here
    return mx.where(kept, logits, -mx.inf)


def _nucleus_edge(logits: mx.array, top_p: float) -> mx.array:
    """The smallest logit [..., 1] that top_p keeps."""
    ordered = -mx.sort(-logits, axis=-1)  # most probable first
    probabilities = mx.softmax(ordered, axis=-1)
    before = mx.cumsum(probabilities, axis=-1) - probabilities  # held by more probable tokens
    in_nucleus = before < top_p  # a prefix, never empty: nothing is before the first
    return mx.min(mx.where(in_nucleus, ordered, mx.inf), axis=-1, keepdims=True)


def drawn_on_cpu(logits: mx.array, params: SamplingParams, key: mx.array) -> mx.array:
    """A token a row from the distribution of `sampling_logits`, in NumPy.

    MLX's own way would take longer than many a small model: on x86 its exponentials and logarithms are computed one
    by one, and it takes two of these and a random number for every token of the vocabulary, and for top_p a sort.
    Here one random number a row is looked up in the sum of the weights up to each token.

    Args:
        logits: [..., V].
        key: of MLX's random numbers.

    Returns:
        Token ids [...], uint32.
    """
    *shape, V = logits.shape
    rows = np.array(logits.astype(mx.float32)).reshape(-1, V)
    points = np.array(mx.random.uniform(shape=(len(rows),), key=key), np.float64)  # in [0, 1)
    tokens = [_at(sampling_weights(row, params), point) for row, point in zip(rows, points, strict=True)]
    return mx.array(np.array(tokens, np.uint32).reshape(shape))


def _at(weights: np.ndarray, point: float) -> int:
    """The first token [V] up to which the weights hold more than a share of their sum, from 0 and below 1.

    First the block of tokens in which it is: to sum up all of them one by one would take longer than the rest together.
    """
    size = 256
    upto = np.cumsum(np.add.reduceat(weights, np.arange(0, len(weights), size), dtype=np.float64))
    block = int(np.searchsorted(upto, point * upto[-1], side="right"))
    within = weights[block * size : (block + 1) * size].astype(np.float64)
    rest = max(point * upto[-1] - (upto[block] - within.sum()), 0.0)
    index = np.searchsorted(np.cumsum(within), rest, side="right")
    return block * size + min(int(index), int(np.flatnonzero(within)[-1]))  # past the last only by rounding


def sampling_weights(logits: np.ndarray, params: SamplingParams) -> np.ndarray:
    """What `sampling_logits` are the logarithms of, for one row [V]: 1 for the most probable token, 0 for those filtered."""
    logits = (logits - logits.max()) / np.float32(max(params.temperature, 1e-6))
    weights = np.exp(logits)
    kept = 0.0
    if params.top_p < 1:
        total = weights.sum()
        # Tokens that hold less than (1 - top_p) / V each hold less than 1 - top_p together, so none of them is in the
        # nucleus. The others are few, and quickly sorted.
        likely = weights[weights >= total * ((1 - params.top_p) / len(weights))]
        likely = np.sort(likely)[::-1]
        before = np.cumsum(likely) - likely  # held by more probable tokens
        kept = likely[max(np.count_nonzero(before < params.top_p * total), 1) - 1]
    return np.where(weights >= max(kept, params.min_p), weights, 0)
