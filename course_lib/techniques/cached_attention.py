"""One attention layer, with and without a cache: what is computed for the new tokens, and what is not.

Without a cache, every token so far goes through the projections, is rotated to its position, and
attends. With one, only the newest L tokens do; the rest is the same, except that their positions
begin at the cache's offset.
"""

from dataclasses import dataclass
from typing import Protocol

import mlx.core as mx

from course_lib.techniques.attention import attention


class LayerCache(Protocol):
    """What a layer asks of its cache; the classes in `kv_cache.py` have it."""

    offset: int  # tokens held, and the position of the next one

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]: ...


@dataclass(frozen=True)
class AttentionLayer:
    """The weights of one attention layer, and the steps that a cache does not change.

    Attributes:
        wq: [H * D, E].
        wk, wv: [H_kv * D, E].
        wo: [E, H * D].
        num_heads: H.
        num_kv_heads: H_kv.
        rope_base: the pair i of D features turns by position * rope_base^(-2i / D).
    """

    wq: mx.array
    wk: mx.array
    wv: mx.array
    wo: mx.array
    num_heads: int
    num_kv_heads: int
    rope_base: float = 10_000.0

    @property
    def head_dim(self) -> int:
        return self.wq.shape[0] // self.num_heads

    @property
    def scale(self) -> float:
        return self.head_dim**-0.5

    def project(self, x: mx.array) -> tuple[mx.array, mx.array, mx.array]:
        """x [B, L, E] -> queries [B, H, L, D], keys and values [B, H_kv, L, D], not yet rotated."""
        B, L, _ = x.shape

        def heads(weight: mx.array, count: int) -> mx.array:
            return (x @ weight.T).reshape(B, L, count, self.head_dim).transpose(0, 2, 1, 3)

        return (
            heads(self.wq, self.num_heads),
            heads(self.wk, self.num_kv_heads),
            heads(self.wv, self.num_kv_heads),
        )

    def rope(self, x: mx.array, offset: int) -> mx.array:
        """Rotate [B, any H, L, D] to the positions offset .. offset + L - 1."""
        return mx.fast.rope(
            x, self.head_dim, traditional=False, base=self.rope_base, scale=1.0, offset=offset
        )

    def output(self, heads: mx.array) -> mx.array:
        """What the heads gathered [B, H, L, D] -> [B, L, E]."""
        B, H, L, D = heads.shape
        return heads.transpose(0, 2, 1, 3).reshape(B, L, H * D) @ self.wo.T


def full_attention(x: mx.array, layer: AttentionLayer) -> mx.array:
    """The layer without a cache: all tokens so far, x [B, S, E] -> [B, S, E]."""
    queries, keys, values = layer.project(x)
    queries, keys = layer.rope(queries, 0), layer.rope(keys, 0)
    heads = attention(queries, keys, values, scale=layer.scale, mask="causal")
    return layer.output(heads)


def cached_attention(x: mx.array, layer: AttentionLayer, cache: LayerCache) -> mx.array:
    """The layer with a cache: the newest tokens alone.

    Args:
        x: [B, L, E], the tokens at positions cache.offset .. cache.offset + L - 1.
        layer: the weights.
        cache: holds the keys and values of all tokens before, and takes up those of the new ones.

    Returns:
        [B, L, E]: the last L rows of what `full_attention` gives for all tokens.
    """
    queries, keys, values = layer.project(x)
    # Read before the update, which moves it on.
    offset = cache.offset
    queries, keys = layer.rope(queries, offset), layer.rope(keys, offset)
    keys, values = cache.update_and_fetch(keys, values)  # [B, H_kv, S, D]
    heads = attention(queries, keys, values, scale=layer.scale, mask="causal")
    return layer.output(heads)
