"""Random weights in real shapes, for timing at scale and for tests.

Quantized weights are drawn packed: the floating-point matrix they would stand for never exists, so a
large model needs no more memory to make than to hold.
"""

import math

import mlx.core as mx
import numpy as np

from course_lib.llm.config import ModelConfig
from course_lib.llm.weights import BlockWeights, DenseWeight, ModelWeights, QuantizedWeight, Weight

_BITS = (2, 3, 4, 5, 6, 8)
_GROUP_SIZES = (32, 64, 128)


class _Source:
    """Draws arrays from one seed, one after the other.

    NumPy draws them: bytes come without a floating-point detour, and every device gets the same.
    """

    def __init__(self, seed: int, bits: int | None, group_size: int, dtype: mx.Dtype) -> None:
        self.random = np.random.default_rng(seed)
        self.bits, self.group_size, self.dtype = bits, group_size, dtype

    def normal(self, shape: tuple[int, ...], std: float, mean: float = 0.0) -> mx.array:
        drawn = self.random.standard_normal(shape, dtype=np.float32)
        array = (mx.array(drawn) * std + mean).astype(self.dtype)
        mx.eval(array)  # at once, or every matrix drawn so far would wait in float32
        return array

    def norm(self, size: int) -> mx.array:
        return self.normal((size,), 0.1, mean=1.0)

    def weight(self, N: int, K: int, std: float, has_bias: bool = False) -> Weight:
        bias = self.normal((N,), 0.1) if has_bias else None
        if self.bits is None:
            return DenseWeight(self.normal((N, K), std), bias)
        packed = self.random.bytes(N * K * self.bits // 8)
        packed = mx.array(np.frombuffer(packed, dtype=np.uint32).reshape(N, -1))
        # The integers are uniform on 0..levels, of deviation levels / sqrt(12). Scales differ from
        # group to group, so that a kernel which reads the wrong group's is found out.
        levels = 2**self.bits - 1
        spread = mx.array(self.random.uniform(0.5, 1.5, (N, K // self.group_size)).astype(np.float32))
        scales = (spread * (std * math.sqrt(12) / levels)).astype(self.dtype)
        biases = scales * (-levels / 2)
        mx.eval(scales, biases)
        return QuantizedWeight(packed, scales, biases, self.group_size, self.bits, bias)


def random_weights(
    config: ModelConfig, bits: int | None, group_size: int, seed: int, dtype: mx.Dtype
) -> ModelWeights:
    """Weights of the config's shapes whose activations neither vanish nor explode.

    Args:
        bits: of each weight, or None for dense ones.
        group_size: input features that share a scale, where quantized.
        seed: the same seed gives the same weights.
        dtype: of everything that is not a packed integer.

    Raises:
        ValueError: a negative seed; bits or a group_size that MLX does not have; a group_size that
            does not divide the shapes.
    """
    if type(seed) is not int or seed < 0:
        raise ValueError(f"seed={seed!r}; wanted an integer, 0 or more")
    c, D = config, config.head_dim
    if bits is not None:
        _check_quantization(config, bits, group_size)
    source = _Source(seed, bits, group_size, dtype)
    H, H_kv, E, F = c.num_attention_heads, c.num_key_value_heads, c.hidden_size, c.intermediate_size
    # What returns to the residual stream is scaled down, as 2 * layers of them add up there.
    back = 1 / math.sqrt(2 * c.num_hidden_layers)
    embed_tokens = source.weight(c.vocab_size, E, 1 / math.sqrt(E))
    blocks = [
        BlockWeights(
            input_layernorm=source.norm(E),
            q_proj=source.weight(H * D, E, 1 / math.sqrt(E), c.qkv_bias),
            k_proj=source.weight(H_kv * D, E, 1 / math.sqrt(E), c.qkv_bias),
            v_proj=source.weight(H_kv * D, E, 1 / math.sqrt(E), c.qkv_bias),
            o_proj=source.weight(E, H * D, back / math.sqrt(H * D), c.o_bias),
            post_attention_layernorm=source.norm(E),
            gate_proj=source.weight(F, E, 1 / math.sqrt(E), c.mlp_bias),
            up_proj=source.weight(F, E, 1 / math.sqrt(E), c.mlp_bias),
            down_proj=source.weight(E, F, back / math.sqrt(F), c.mlp_bias),
            q_norm=source.norm(D) if c.qk_norm else None,
            k_norm=source.norm(D) if c.qk_norm else None,
        )
        for _ in range(c.num_hidden_layers)
    ]
    lm_head = None if c.tie_word_embeddings else source.weight(c.vocab_size, E, 1 / math.sqrt(E))
    return ModelWeights(embed_tokens, blocks, source.norm(E), lm_head)


def _check_quantization(config: ModelConfig, bits: int, group_size: int) -> None:
    if bits not in _BITS or group_size not in _GROUP_SIZES:
        raise ValueError(
            f"bits={bits}, group_size={group_size}; MLX quantizes to {', '.join(map(str, _BITS))} "
            f"bits in groups of {', '.join(map(str, _GROUP_SIZES))} (bits=None: dense)"
        )
    widths = {
        "hidden_size": config.hidden_size,
        "num_attention_heads * head_dim": config.num_attention_heads * config.head_dim,
        "intermediate_size": config.intermediate_size,
    }
    for name, width in widths.items():
        if width % group_size:
            fitting = [size for size in _GROUP_SIZES if all(w % size == 0 for w in widths.values())]
            advice = f"use group_size {' or '.join(map(str, fitting))}" if fitting else "use bits=None"
            raise ValueError(f"{name} is {width}, not a multiple of group_size {group_size}; {advice}")
