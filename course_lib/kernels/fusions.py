"""Larger steps as one native operation each, instead of one for each part.

While a token is decoded most operations run for some microseconds, which is what MLX takes to start
one. So all layers are one call, where the parts are the native ones and the cache lends its memory
(`course_lib.llm.room`); else what stands between two layers' attention is three calls instead of a
dozen. All run the same kernels one after the other: the numbers are the same to the last bit, which is
tested.
"""

from collections.abc import Callable
from types import ModuleType

import mlx.core as mx

from course_lib.llm.parts import Fusion
from course_lib.llm.weights import BlockWeights, QuantizedWeight, Weight


def native_fusions(
    ext: ModuleType, weight_of: Callable[[Weight], object | None], int8: bool = False
) -> tuple[Fusion, ...]:
    """The fusions of the native parts.

    Args:
        ext: the extension.
        weight_of: a weight as an `ext.Weight`.
        int8: whether those round their inputs to 8 bits.
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
            qkv = weight_of(w.q_proj), weight_of(w.k_proj), weight_of(w.v_proj)
            return tuple(ext.project(wide(x), w.input_layernorm, eps, *qkv, *turn, offset))

        return fused

    def output(block):
        weight = block.weights.o_proj
        if not served(weight) or block.weights.input_layernorm.dtype != mx.float32:
            return None
        return lambda x, attended: ext.add_linear(wide(x), wide(attended), weight_of(weight))

    def feed_forward(block):
        w, eps = block.weights, block.config.rms_norm_eps
        mlp = w.gate_proj, w.up_proj, w.down_proj
        if not served(*mlp) or w.post_attention_layernorm.dtype != mx.float32:
            return None
        return lambda h: ext.feed_forward(wide(h), w.post_attention_layernorm, eps, *map(weight_of, mlp))

    def layers(model):
        blocks = [block.weights for block in model.blocks]
        if not all(_decodes(weights) for weights in blocks):
            return None
        decoder = native_decoder(ext, weight_of, model)
        config = model.config

        def fused(h, cache):
            if not cache or h.dtype != mx.float32 or not all(hasattr(layer, "room") for layer in cache):
                return type(model).layers(model, h, cache)
            placement = cache[0].placement(*h.shape[:2])
            rooms = [layer.room(placement, config.num_key_value_heads, config.head_dim) for layer in cache]
            keys, values = zip(*rooms, strict=True)
            where = placement.segments, placement.lengths, placement.capacity
            h, *held = ext.decode(decoder, h, keys, values, *where)
            for layer, k, v in zip(cache, held[: len(cache)], held[len(cache) :], strict=True):
                layer.filled(placement, k, v)
            return h

        return fused

    whole = Fusion("layers", frozenset({"rms_norm", "linear", "rope", "attention", "swiglu"}), layers)
    if int8:
        return (whole,)
    return (
        whole,
        Fusion("project", frozenset({"rms_norm", "linear", "rope"}), project),
        Fusion("output", frozenset({"linear"}), output),
        Fusion("feed_forward", frozenset({"rms_norm", "linear", "swiglu"}), feed_forward),
    )


def _linears(w: BlockWeights) -> tuple[Weight, ...]:
    return w.q_proj, w.k_proj, w.v_proj, w.o_proj, w.gate_proj, w.up_proj, w.down_proj


def _decodes(w: BlockWeights) -> bool:
    return all(map(fits, _linears(w))) and w.input_layernorm.dtype == mx.float32


def native_decoder(ext: ModuleType, weight_of: Callable[[Weight], object | None], model):
    """The model's layers as `ext.decode` takes them. Arguments as for `native_fusions`."""
    config, rope = model.config, model.blocks[0].rope
    pairs = range(config.head_dim // 2)
    base, scale = (None if n is None else mx.array(n, mx.float32).item() for n in (rope["base"], rope["scale"]))
    if base is None:  # in the precision in which `ext.rope` takes them
        speeds = [scale / period for period in rope["freqs"].tolist()]
    else:
        speeds = [scale * base ** (-2 * i / config.head_dim) for i in pairs]
    layers = []
    for w in (block.weights for block in model.blocks):
        linears = [weight_of(weight) for weight in _linears(w)]
        layers.append((w.input_layernorm, w.post_attention_layernorm, w.q_norm, w.k_norm, linears))
    shape = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    return ext.Decoder(
        *shape, config.rms_norm_eps, model.blocks[0].scale, rope["traditional"], speeds, layers
    )


def fits(weight: Weight) -> bool:
    """Whether the native matmul takes this weight."""
    return isinstance(weight, QuantizedWeight) and weight.bits in (4, 8) and weight.group_size in (32, 64, 128)


def wide(x: mx.array) -> mx.array:
    """x in float32: a part that was plugged in before this step may return less."""
    return x if x.dtype == mx.float32 else x.astype(mx.float32)
