"""Steps of a layer as one native operation each, instead of one for each part.

While a token is decoded most operations run for some microseconds, which is what MLX takes to start
one. So what stands between two layers' attention is done in three calls instead of a dozen. They run the
same kernels one after the other: the numbers are the same to the last bit, which is tested.
"""

from collections.abc import Callable
from types import ModuleType

import mlx.core as mx

from course_lib.llm.parts import Fusion
from course_lib.llm.weights import QuantizedWeight, Weight


def native_fusions(ext: ModuleType, packed: Callable[[Weight], tuple | None]) -> tuple[Fusion, ...]:
    """The fusions of the native parts.

    Args:
        ext: the extension.
        packed: a weight as `ext.quantized_matmul` takes it.
    """

    def served(*weights: Weight) -> bool:
        return all(fits(weight) and weight.bias is None for weight in weights)

    def project(block):
        w, config, rope = block.weights, block.config, block.rope
        plain = not config.qk_norm and rope["base"] is not None
        if not plain or not served(w.q_proj, w.k_proj, w.v_proj) or w.input_layernorm.dtype != mx.float32:
            return None
        eps, turn = config.rms_norm_eps, (config.head_dim, rope["traditional"], rope["base"], rope["scale"])

        def fused(x, offset):
            qkv = packed(w.q_proj), packed(w.k_proj), packed(w.v_proj)
            return tuple(ext.project(wide(x), w.input_layernorm, eps, *qkv, *turn, offset))

        return fused

    def output(block):
        weight = block.weights.o_proj
        if not served(weight) or block.weights.input_layernorm.dtype != mx.float32:
            return None
        return lambda x, attended: ext.add_matmul(wide(x), wide(attended), packed(weight))

    def feed_forward(block):
        w, eps = block.weights, block.config.rms_norm_eps
        mlp = w.gate_proj, w.up_proj, w.down_proj
        if not served(*mlp) or w.post_attention_layernorm.dtype != mx.float32:
            return None
        return lambda h: ext.feed_forward(wide(h), w.post_attention_layernorm, eps, *map(packed, mlp))

    return (
        Fusion("project", frozenset({"rms_norm", "linear", "rope"}), project),
        Fusion("output", frozenset({"linear"}), output),
        Fusion("feed_forward", frozenset({"rms_norm", "linear", "swiglu"}), feed_forward),
    )


def fits(weight: Weight) -> bool:
    """Whether the native matmul takes this weight."""
    return isinstance(weight, QuantizedWeight) and weight.bits in (4, 8) and weight.group_size in (32, 64, 128)


def wide(x: mx.array) -> mx.array:
    """x in float32: a part that was plugged in before this step may return less."""
    return x if x.dtype == mx.float32 else x.astype(mx.float32)
