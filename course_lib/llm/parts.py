"""The parts a model is made of, and how you put in your own.

The transformer in `model.py` does no arithmetic of its own beyond adding: it asks its parts. Each is
a plain callable with the signature of a protocol below; yours goes in by one argument:

    model, tokenizer = load("smollm2-135m", attention=mine)

Shapes: B batch, L new tokens, S tokens to attend to (cached and new), H query heads, H_kv key/value
heads, D head size, K and N input and output features.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Protocol

import mlx.core as mx

from course_lib.llm.weights import DenseWeight, QuantizedWeight, Weight
from course_lib.techniques.kv_cache import KVCache

__all__ = [
    "Attention", "Cache", "DenseWeight", "Fusion", "Linear", "Parts", "QuantizedWeight", "RMSNorm",
    "RoPE", "SwiGLU", "Weight", "default_parts",
]  # fmt: skip

Mask = mx.array | Literal["causal"] | None


class Linear(Protocol):
    def __call__(self, x: mx.array, weight: Weight) -> mx.array:
        """x [..., K] times the weight's transpose [K, N], plus its bias if it has one -> [..., N]."""


class Attention(Protocol):
    def __call__(
        self, queries: mx.array, keys: mx.array, values: mx.array, *, scale: float, mask: Mask
    ) -> mx.array:
        """softmax(scale * queries keys^T + mask) values, per head.

        Args:
            queries: [B, H, L, D].
            keys, values: [B, H_kv, S, D]; query head h reads key/value head h // (H / H_kv).
            mask: None; or "causal", where the last query sees the last key and each earlier one
                sees one key less; or an array that broadcasts to [B, H, L, S], boolean (True: may
                attend) or floating (added to the scores).

        Returns:
            [B, H, L, D].
        """


class RMSNorm(Protocol):
    def __call__(self, x: mx.array, weight: mx.array, eps: float) -> mx.array:
        """x / sqrt(mean(x^2) + eps) * weight over the last axis: x [..., E], weight [E] -> [..., E]."""


class RoPE(Protocol):
    def __call__(
        self,
        x: mx.array,
        *,
        dims: int,
        traditional: bool,
        base: float | None,
        scale: float,
        offset: int | mx.array,
        freqs: mx.array | None,
    ) -> mx.array:
        """Rotate pairs of features by an angle that grows with the position.

        Args:
            x: [B, H, L, D]; the token at index l stands at position offset + l.
            dims: features rotated (the first ones).
            traditional: pair feature 2i with 2i + 1, else i with i + dims / 2.
            base: pair i turns by position * scale * base^(-2i / dims); None where freqs is given.
            offset: one position for all rows, or one a row [B].
            freqs: [dims / 2] or None: pair i turns by position * scale / freqs[i] instead.

        Returns:
            [B, H, L, D].
        """


class SwiGLU(Protocol):
    def __call__(self, gate: mx.array, up: mx.array) -> mx.array:
        """silu(gate) * up: [..., F], [..., F] -> [..., F]."""


class Cache(Protocol):
    """One layer's keys and values.

    May also have `make_mask(L)`, which returns the mask for L new tokens; and `attend(queries, keys,
    values, *, scale, attention)`, which takes up the new keys and values and returns the attention of
    the new queries [B, H, L, D]. It is called instead of `update_and_fetch` and the attention part
    (which it gets as `attention`), by caches whose rows need more than one call of it. A cache that a
    fused step may write into has the methods of `room.LendsRoom`, too.
    """

    offset: int | mx.array  # position of the next token; one a row [B] where rows differ

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Append keys and values [B, H_kv, L, D]; return all of them, [B, H_kv, S, D] each."""


def mlx_linear(x: mx.array, weight: Weight) -> mx.array:
    """The `Linear` part by MLX's own matmuls."""
    if isinstance(weight, DenseWeight):
        if weight.bias is None:
            return x @ weight.weight.T
        return mx.addmm(weight.bias, x, weight.weight.T)
    out = mx.quantized_matmul(
        x,
        weight.weight,
        weight.scales,
        weight.biases,
        transpose=True,
        group_size=weight.group_size,
        bits=weight.bits,
    )
    return out if weight.bias is None else out + weight.bias


def mlx_attention(
    queries: mx.array, keys: mx.array, values: mx.array, *, scale: float, mask: Mask
) -> mx.array:
    """The `Attention` part by MLX's fused kernel."""
    return mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask=mask)


def mlx_rms_norm(x: mx.array, weight: mx.array, eps: float) -> mx.array:
    """The `RMSNorm` part by MLX's fused kernel."""
    return mx.fast.rms_norm(x, weight, eps)


def mlx_rope(x: mx.array, *, dims, traditional, base, scale, offset, freqs) -> mx.array:
    """The `RoPE` part by MLX's fused kernel."""
    return mx.fast.rope(x, dims, traditional=traditional, base=base, scale=scale, offset=offset, freqs=freqs)


def mlx_swiglu(gate: mx.array, up: mx.array) -> mx.array:
    """The `SwiGLU` part in plain operations."""
    return gate * mx.sigmoid(gate) * up


@dataclass(frozen=True)
class Fusion:
    """Neighbouring parts done in one call, where every part it covers is the one it was made for.

    Attributes:
        step: the method it stands in for. Of `model.Block`: "project", "attend", "output",
            "feed_forward", or "forward" for the whole block. Of `model.Model`: "layers" for all blocks.
        covers: names of the parts whose work it does. A model in which one of them was replaced
            runs that step unfused.
        build: given the block or the model, returns a callable with the signature of the method, or
            None where it cannot serve it.
    """

    step: str
    covers: frozenset[str]
    build: Callable[[Any], Callable | None]


@dataclass(frozen=True)
class Parts:
    """What a model is made of. `Parts()` is MLX's own operations and the preallocated cache.

    Attributes:
        cache: makes one layer's cache, called once a layer; None for no cache, where the whole
            sequence is computed again for every token.
        fusions: larger steps that stand in for several parts.
    """

    linear: Linear = mlx_linear
    attention: Attention = mlx_attention
    rms_norm: RMSNorm = mlx_rms_norm
    rope: RoPE = mlx_rope
    swiglu: SwiGLU = mlx_swiglu
    cache: Callable[[], Cache] | None = KVCache
    fusions: tuple[Fusion, ...] = ()

    def replaced(self, **parts: Any) -> "Parts":
        """These parts with some replaced; fusions that cover a replaced part are dropped.

        Raises:
            TypeError: no such part, or what was given cannot be called.
        """
        known = [field.name for field in fields(self) if field.name != "fusions"]
        for name, part in parts.items():
            if name not in known:
                raise TypeError(f"there is no part {name!r}; the parts are {', '.join(known)}")
            if not callable(part) and not (name == "cache" and part is None):
                wanted = "a class or function that makes a cache" if name == "cache" else "a function"
                raise TypeError(f"{name}={part!r} cannot be called; pass {wanted}")
        changed = {name for name, part in parts.items() if part is not getattr(self, name)}
        kept = tuple(fusion for fusion in self.fusions if not fusion.covers & changed)
        return replace(self, **parts, fusions=kept)


def default_parts(int8_activations: bool = False) -> Parts:
    """The parts a model gets where you name none.

    The native CPU kernels where MLX's default device is the CPU and they are built, MLX's own
    operations otherwise.

    Args:
        int8_activations: see `load`.

    Raises:
        ValueError: int8 activations without the native kernels, which alone have them.
    """
    native = None
    if mx.default_device() == mx.cpu:
        try:
            from course_lib.kernels import cpu_parts
        except ImportError:
            pass
        else:
            native = cpu_parts(int8_activations)
    if int8_activations and native is None:
        raise ValueError(
            "int8_activations=True needs the native CPU kernels: MLX's default device the CPU "
            "(mx.set_default_device(mx.cpu)), and the kernels built (course build)"
        )
    return native or Parts()
