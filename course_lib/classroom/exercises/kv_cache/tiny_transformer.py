"""A small real transformer, for what a toy cannot show: that a cache changes nothing."""

import mlx.core as mx

from ....llm.config import ModelConfig
from ....llm.model import Model
from ....llm.parts import Parts
from ....llm.random_weights import random_weights


def tiny_transformer(cache) -> Model:
    """Two layers of random weights, by MLX's own operations; `cache` as for `load`."""
    config = ModelConfig(
        model_type="llama", hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=48, vocab_size=61, max_position_embeddings=256,
    )  # fmt: skip
    weights = random_weights(config, bits=None, group_size=32, seed=3, dtype=mx.float32)
    return Model(config, weights, Parts(cache=cache))


def by_recompute(model: Model, prompt, count) -> list[int]:
    """Greedy tokens of a model without a cache: the whole text again for each."""
    new = []
    for _ in range(count):
        new.append(mx.argmax(model(mx.array([[*prompt, *new]]))[0, -1]).item())
    return new
