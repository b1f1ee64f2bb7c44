"""From logits to the next token.

Each request draws from its own random stream, a chain of keys split from its seed, so that what it
says does not depend on what else is being generated.
"""

import math
import secrets
from dataclasses import dataclass, fields
from typing import Any

import mlx.core as mx


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
            Token ids [...], uint32. Lazy: nothing is evaluated here.
        """
        if self.params.temperature == 0:
            return mx.argmax(logits, axis=-1)
        self._key, key = mx.random.split(self._key)
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
    """The smallest logit [..., 1] that top_p keeps, of logits whose maximum is 0."""
    weights = mx.exp(logits)
    total = mx.sum(weights, axis=-1, keepdims=True)
    candidates = logits
    if mx.default_device() == mx.cpu:
        # Tokens that hold less than (1 - top_p) / V each hold less than 1 - top_p together: none is in the nucleus.
        # Sorting the few others takes a tenth of the time. (A GPU sorts fast, and would have to wait for their number.)
        likely = mx.sum(weights >= total * ((1 - top_p) / logits.shape[-1]), axis=-1)
        candidates = mx.topk(logits, mx.max(likely).item(), axis=-1)
    ordered = -mx.sort(-candidates, axis=-1)  # most probable first
    probabilities = mx.exp(ordered) / total
    before = mx.cumsum(probabilities, axis=-1) - probabilities  # held by more probable tokens
    in_nucleus = before < top_p  # a prefix, never empty: nothing is before the first
    return mx.min(mx.where(in_nucleus, ordered, mx.inf), axis=-1, keepdims=True)
