"""The model's weights, as the parts see them.

A linear layer's weight comes in one of two forms: as it is (`DenseWeight`), or packed to a few bits
with a scale and an offset per group (`QuantizedWeight`, MLX's affine format). Both store the matrix
by output rows, [N, K], as checkpoints do.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import mlx.core as mx


@dataclass(frozen=True, eq=False)
class DenseWeight:
    """A weight matrix, one floating-point number each.

    Attributes:
        weight: [N, K].
        bias: [N] or None, added to the output.
    """

    weight: mx.array
    bias: mx.array | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(N, K): output and input features."""
        return tuple(self.weight.shape)

    @property
    def dtype(self) -> mx.Dtype:
        return self.weight.dtype

    def rows(self, ids: mx.array) -> mx.array:
        """The rows of an embedding: ids [...] -> [..., K]."""
        return self.weight[ids]

    def astype(self, dtype: mx.Dtype) -> "DenseWeight":
        return DenseWeight(self.weight.astype(dtype), None if self.bias is None else self.bias.astype(dtype))


@dataclass(frozen=True, eq=False)
class QuantizedWeight:
    """A weight matrix in MLX's affine quantization (the format of `mx.quantize`).

    Row n, column k is `scales[n, g] * q + biases[n, g]` with g = k // group_size and q the k-th
    unsigned `bits`-bit integer of the packed row, lowest bits first.

    Attributes:
        weight: uint32 [N, K * bits / 32].
        scales: [N, K / group_size], floating.
        biases: [N, K / group_size], floating: the value of q = 0.
        group_size: input features that share a scale.
        bits: bits per weight.
        bias: [N] or None, added to the output (not to be confused with `biases`).
    """

    weight: mx.array
    scales: mx.array
    biases: mx.array
    group_size: int
    bits: int
    bias: mx.array | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(N, K): output and input features."""
        return self.scales.shape[0], self.scales.shape[1] * self.group_size

    @property
    def dtype(self) -> mx.Dtype:
        """The dtype of the scales, which is the dtype of the dequantized weight."""
        return self.scales.dtype

    def rows(self, ids: mx.array) -> mx.array:
        """The rows of an embedding: ids [...] -> [..., K]. Only those rows are dequantized."""
        return mx.dequantize(
            self.weight[ids], self.scales[ids], self.biases[ids], group_size=self.group_size, bits=self.bits
        )

    def astype(self, dtype: mx.Dtype) -> "QuantizedWeight":
        """The same packed integers with scales, biases and bias in another dtype."""
        return replace(
            self,
            scales=self.scales.astype(dtype),
            biases=self.biases.astype(dtype),
            bias=None if self.bias is None else self.bias.astype(dtype),
        )


Weight = DenseWeight | QuantizedWeight


@dataclass(eq=False)
class BlockWeights:
    """One transformer block's weights, under the names they have in checkpoints.

    H query heads, H_kv key/value heads, D head size, E model size, F size of the MLP.
    """

    input_layernorm: mx.array  # [E]
    q_proj: Weight  # [H * D, E]
    k_proj: Weight  # [H_kv * D, E]
    v_proj: Weight  # [H_kv * D, E]
    o_proj: Weight  # [E, H * D]
    post_attention_layernorm: mx.array  # [E]
    gate_proj: Weight  # [F, E]
    up_proj: Weight  # [F, E]
    down_proj: Weight  # [E, F]
    q_norm: mx.array | None = None  # [D], Qwen3
    k_norm: mx.array | None = None  # [D], Qwen3


@dataclass(eq=False)
class ModelWeights:
    """All of a model's weights.

    Attributes:
        embed_tokens: [V, E].
        blocks: one `BlockWeights` a layer.
        norm: [E], before the projection into the vocabulary.
        lm_head: [V, E], or None where the embedding serves both ends (tied).
    """

    embed_tokens: Weight
    blocks: list[BlockWeights]
    norm: mx.array
    lm_head: Weight | None = None

    @property
    def dtype(self) -> mx.Dtype:
        """The checkpoint's floating dtype."""
        return self.embed_tokens.dtype

    def arrays(self) -> list[mx.array]:
        """Every array, to evaluate or to count."""
        return list(_arrays(self))

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.arrays())

    def astype(self, dtype: mx.Dtype) -> "ModelWeights":
        """All floating values in another dtype, packed integers as they are."""
        return _cast(self, dtype)


def _arrays(node: Any):
    if isinstance(node, mx.array):
        yield node
    elif isinstance(node, list):
        for item in node:
            yield from _arrays(item)
    elif hasattr(node, "__dataclass_fields__"):
        for field in fields(node):
            yield from _arrays(getattr(node, field.name))


def _cast(node: Any, dtype: mx.Dtype) -> Any:
    if isinstance(node, (mx.array, DenseWeight, QuantizedWeight)):
        return node.astype(dtype)
    if isinstance(node, list):
        return [_cast(item, dtype) for item in node]
    if isinstance(node, (BlockWeights, ModelWeights)):
        return replace(node, **{f.name: _cast(getattr(node, f.name), dtype) for f in fields(node)})
    return node


def from_mlx_lm(model: Any) -> ModelWeights:
    """The weights of a model that mlx-lm loaded (its Llama, Qwen2 or Qwen3 class).

    Raises:
        ValueError: a layer is quantized in a format other than affine (mxfp4 and the like).
    """
    body = model.model
    return ModelWeights(
        embed_tokens=_weight(body.embed_tokens, "embed_tokens"),
        blocks=[_block(layer, i) for i, layer in enumerate(body.layers)],
        norm=body.norm.weight,
        lm_head=_weight(model.lm_head, "lm_head") if "lm_head" in model else None,
    )


def _block(layer: Any, index: int) -> BlockWeights:
    attention, mlp = layer.self_attn, layer.mlp
    linears = {
        name: _weight(module[name], f"layers.{index}.{name}")
        for module, names in (
            (attention, ("q_proj", "k_proj", "v_proj", "o_proj")),
            (mlp, ("gate_proj", "up_proj", "down_proj")),
        )
        for name in names
    }
    return BlockWeights(
        input_layernorm=layer.input_layernorm.weight,
        post_attention_layernorm=layer.post_attention_layernorm.weight,
        q_norm=attention.q_norm.weight if "q_norm" in attention else None,
        k_norm=attention.k_norm.weight if "k_norm" in attention else None,
        **linears,
    )


def _weight(module: Any, name: str) -> Weight:
    bias = module.get("bias")
    if "scales" not in module:
        return DenseWeight(module.weight, bias)
    if module.mode != "affine":
        raise ValueError(
            f"{name} is quantized as {module.mode!r}; this model reads MLX's affine quantization. "
            "Choose a checkpoint converted with the default `mlx_lm.convert -q`"
        )
    return QuantizedWeight(module.weight, module.scales, module.biases, module.group_size, module.bits, bias)
