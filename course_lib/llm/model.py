"""A decoder-only transformer: Llama, Qwen2 and Qwen3 in one, built from parts.

    tokens [B, L] -> embedding [B, L, E] -> blocks -> norm -> logits [B, P, V]

Each block adds to the residual stream twice: what attention gathers from other positions, and what
the MLP makes of each position alone. The arithmetic is in the parts (`parts.py`); this file says
only what flows where.

Sources: Llama (https://arxiv.org/abs/2302.13971), grouped-query attention
(https://arxiv.org/abs/2305.13245), SwiGLU (https://arxiv.org/abs/2002.05202), Qwen3
(https://arxiv.org/abs/2505.09388).
"""

import inspect
from collections.abc import Sequence

import mlx.core as mx

from course_lib.llm.config import ModelConfig
from course_lib.llm.parts import Cache, Fusion, Mask, Parts
from course_lib.llm.rope import rope_options
from course_lib.llm.weights import BlockWeights, ModelWeights, Weight


class Block:
    """One layer: attention, then the MLP, each on a normalised copy of the residual stream.

    The work is in four steps, each a method: `project`, `attend`, `output`, `feed_forward`. A
    `parts.Fusion` stands in for one of them, or for `forward`, which is all four; or for `Model.layers`,
    which is all blocks.
    """

    def __init__(self, config: ModelConfig, weights: BlockWeights, parts: Parts, rope: dict) -> None:
        self.config = config
        self.weights = weights
        self.parts = parts
        self.rope = rope  # keyword arguments of the rope part, besides the offset
        self.scale = config.head_dim**-0.5
        _put_in(parts.fusions, self)

    def forward(self, x: mx.array, mask: Mask, cache: Cache | None) -> mx.array:
        """x [B, L, E] -> [B, L, E]; the cache, if any, takes up the L new tokens."""
        queries, keys, values = self.project(x, 0 if cache is None else cache.offset)
        h = self.output(x, self.attend(queries, keys, values, mask, cache))
        return self.feed_forward(h)

    def project(self, x: mx.array, offset: int | mx.array) -> tuple[mx.array, mx.array, mx.array]:
        """x [B, L, E] -> queries [B, H, L, D], keys and values [B, H_kv, L, D], RoPE applied."""
        w, parts, eps = self.weights, self.parts, self.config.rms_norm_eps
        x = parts.rms_norm(x, w.input_layernorm, eps)
        queries = self._heads(parts.linear(x, w.q_proj), self.config.num_attention_heads)
        keys = self._heads(parts.linear(x, w.k_proj), self.config.num_key_value_heads)
        values = self._heads(parts.linear(x, w.v_proj), self.config.num_key_value_heads)
        if self.config.qk_norm:
            queries = parts.rms_norm(queries, w.q_norm, eps)
            keys = parts.rms_norm(keys, w.k_norm, eps)
        queries, keys, values = (heads.transpose(0, 2, 1, 3) for heads in (queries, keys, values))
        queries = parts.rope(queries, offset=offset, **self.rope)
        keys = parts.rope(keys, offset=offset, **self.rope)
        return queries, keys, values

    def _heads(self, x: mx.array, num_heads: int) -> mx.array:
        B, L, _ = x.shape
        return x.reshape(B, L, num_heads, self.config.head_dim)  # [B, L, H, D]

    def attend(
        self, queries: mx.array, keys: mx.array, values: mx.array, mask: Mask, cache: Cache | None
    ) -> mx.array:
        """Attention of the new queries to all keys, cached and new -> [B, L, H * D]."""
        if attend := getattr(cache, "attend", None):
            out = attend(queries, keys, values, scale=self.scale, attention=self.parts.attention)
        else:
            if cache is not None:
                keys, values = cache.update_and_fetch(keys, values)  # [B, H_kv, S, D]
            out = self.parts.attention(queries, keys, values, scale=self.scale, mask=mask)
        B, H, L, D = out.shape
        return out.transpose(0, 2, 1, 3).reshape(B, L, H * D)

    def output(self, x: mx.array, attended: mx.array) -> mx.array:
        """x [B, L, E] plus the projection of what attention gathered [B, L, H * D]."""
        return x + self.parts.linear(attended, self.weights.o_proj)

    def feed_forward(self, h: mx.array) -> mx.array:
        """h [B, L, E] plus its MLP -> [B, L, E]."""
        w, parts = self.weights, self.parts
        x = parts.rms_norm(h, w.post_attention_layernorm, self.config.rms_norm_eps)
        x = parts.swiglu(parts.linear(x, w.gate_proj), parts.linear(x, w.up_proj))  # [B, L, F]
        return h + parts.linear(x, w.down_proj)


def _put_in(fusions: Sequence[Fusion], whole: "Block | Model") -> None:
    """Fused steps in place of the methods that they stand in for."""
    for fusion in fusions:
        if hasattr(type(whole), fusion.step) and (fused := fusion.build(whole)):
            setattr(whole, fusion.step, fused)


class Model:
    """The transformer. Make one with `load` or `random_model`.

    Attributes:
        config: its shape.
        parts: what it is made of.
        blocks: its layers.
        dtype: the dtype of the activations and of the logits.
        nbytes (int): bytes of all weights.
    """

    def __init__(self, config: ModelConfig, weights: ModelWeights, parts: Parts) -> None:
        rope = rope_options(config.head_dim, config.rope_theta, config.rope_traditional, config.rope_scaling)
        self.config = config
        self.parts = parts
        self.dtype = weights.dtype
        self.nbytes = weights.nbytes
        self.embed_tokens = weights.embed_tokens
        self.blocks = [Block(config, block, parts, rope) for block in weights.blocks]
        self.norm = weights.norm
        self.lm_head: Weight = weights.lm_head or weights.embed_tokens
        _put_in(parts.fusions, self)

    def make_cache(self) -> list[Cache] | None:
        """A new, empty cache for one batch, one a layer; None for a model without a cache."""
        if self.parts.cache is None:
            return None
        return [self.parts.cache() for _ in self.blocks]

    def __call__(
        self,
        tokens: mx.array,
        cache: list[Cache] | None = None,
        positions: int | Sequence[int] | mx.array | None = None,
        rows: Sequence[int] | None = None,
    ) -> mx.array:
        """The logits for the token after each wanted position.

        Args:
            tokens: integers [B, L]: the next L tokens of each row; all of them so far without a
                cache. Ids are not checked against the vocabulary (that would wait for the device).
            cache: from `make_cache`; holds what came before and takes up the new tokens.
            positions: which of the L positions to project into the vocabulary: None for all; an
                index or a sequence [P] of them, the same for each row, negative ones counted from
                the end; an array [B, P], each row its own. The projection is the largest matrix of
                the model, and while a prompt is read only its last position is wanted: pass -1.
            rows: which of the B rows to project; None for all. An engine's step has a row for each
                token, and wants the logits after the last one of each request.

        Returns:
            [B, P, V] in `dtype`, with the wanted rows in place of B.

        Raises:
            ValueError: tokens, cache, positions or rows of a wrong shape.
        """
        self._check(tokens, cache)
        h = self.embed_tokens.rows(tokens)  # [B, L, E]
        h = self.layers(h, cache)
        h = _take_rows(h, rows)
        h = _take_positions(h, positions)  # [B, P, E]
        h = self.parts.rms_norm(h, self.norm, self.config.rms_norm_eps)
        return self.parts.linear(h, self.lm_head)

    def layers(self, h: mx.array, cache: list[Cache] | None) -> mx.array:
        """All blocks, one after the other: h [B, L, E] -> [B, L, E]; the cache takes up the L new tokens."""
        mask = attention_mask(cache[0] if cache else None, h.shape[1])
        for block, layer_cache in zip(self.blocks, cache or [None] * len(self.blocks), strict=True):
            h = block.forward(h, mask, layer_cache)
        return h

    def _check(self, tokens: mx.array, cache: list[Cache] | None) -> None:
        if tokens.ndim != 2 or 0 in tokens.shape or not mx.issubdtype(tokens.dtype, mx.integer):
            raise ValueError(
                f"tokens must be integers [B, L] with at least one row and one token; given "
                f"{list(tokens.shape)} of {tokens.dtype}. One sequence: mx.array(ids)[None]"
            )
        if cache is not None and len(cache) != len(self.blocks):
            raise ValueError(
                f"the model has {len(self.blocks)} layers, the cache {len(cache)}; "
                "make it with model.make_cache()"
            )


def attention_mask(cache: Cache | None, L: int) -> Mask:
    """The mask for L new tokens: the cache's own if it makes one, else causal."""
    make_mask = getattr(cache, "make_mask", None)
    if make_mask is None:
        return None if L == 1 else "causal"
    # mlx-lm's own caches serve too; some insist on their two further arguments.
    kinds = {parameter.kind for parameter in inspect.signature(make_mask).parameters.values()}
    if inspect.Parameter.VAR_KEYWORD in kinds:
        return make_mask(L, return_array=False, window_size=None)
    return make_mask(L)


def _take_rows(h: mx.array, rows: Sequence[int] | None) -> mx.array:
    """h [B, L, E] -> [R, L, E]."""
    if rows is None or list(rows) == list(range(h.shape[0])):
        return h
    if outside := [row for row in rows if not 0 <= row < h.shape[0]]:
        raise ValueError(f"rows {outside} lie outside the {h.shape[0]} rows given")
    return h[mx.array(list(rows), dtype=mx.int32)]


def _take_positions(h: mx.array, positions: int | Sequence[int] | mx.array | None) -> mx.array:
    """h [B, L, E] -> [B, P, E]."""
    if positions is None:
        return h
    B, L, _ = h.shape
    if isinstance(positions, int):
        positions = [positions]
    if not isinstance(positions, mx.array):
        if outside := [p for p in positions if not -L <= p < L]:
            raise ValueError(f"positions {outside} lie outside the {L} tokens given")
        positions = mx.array(list(positions), dtype=mx.int32)
    if positions.ndim == 1:
        return h[:, positions]
    if positions.ndim != 2 or positions.shape[0] != B:
        raise ValueError(
            f"positions {list(positions.shape)} must be [P] for all rows or [{B}, P], a row each"
        )
    return mx.take_along_axis(h, positions[:, :, None], axis=1)
