"""Rotary position embedding: how fast each pair of features turns, for the scalings checkpoints use.

Unscaled, pair i of D/2 turns by position * base^(-2i / D) (RoFormer, https://arxiv.org/abs/2104.09864).
Checkpoints trained for longer contexts stretch the slow pairs.
"""

import math
from typing import Any

import mlx.core as mx

SCALINGS = ("default", "linear", "llama3")


def scaling_kind(rope_scaling: dict[str, Any] | None) -> str:
    """The name of the scaling in a checkpoint's config, one of `SCALINGS`.

    Raises:
        ValueError: a kind that is not implemented, or a parameter of it is missing.
    """
    if not rope_scaling:
        return "default"
    kind = rope_scaling.get("rope_type") or rope_scaling.get("type") or "default"
    if kind not in SCALINGS:
        raise ValueError(f"this checkpoint scales RoPE by {kind!r}; implemented are {', '.join(SCALINGS)}")
    if kind != "default" and "factor" not in rope_scaling:
        raise ValueError(f"rope_scaling {rope_scaling} of kind {kind!r} has no 'factor'")
    return kind


def rope_options(
    head_dim: int, base: float, traditional: bool, rope_scaling: dict[str, Any] | None
) -> dict[str, Any]:
    """Everything the `RoPE` part is told besides x and the offset.

    Returns:
        dims, traditional, base, scale and freqs, as `mx.fast.rope` takes them: either base or freqs
        is None.
    """
    kind = scaling_kind(rope_scaling)
    options = {"dims": head_dim, "traditional": traditional, "base": base, "scale": 1.0, "freqs": None}
    if kind == "linear":
        # Positions squeezed: what was position p is now p / factor (https://arxiv.org/abs/2306.15595).
        options["scale"] = 1.0 / rope_scaling["factor"]
    elif kind == "llama3":
        options["base"] = None
        options["freqs"] = _llama3_periods(head_dim, base, rope_scaling)
    return options


def _llama3_periods(head_dim: int, base: float, scaling: dict[str, Any]) -> mx.array:
    """Positions per radian of each pair, [D/2], as Llama 3.1 stretches them.

    Pairs that turn often within the original context keep their speed, pairs that turn less than
    `low_freq_factor` times are slowed by `factor`, and those between are blended.
    Source: `apply_scaling` in https://github.com/meta-llama/llama-models.
    """
    factor = scaling["factor"]
    low = scaling.get("low_freq_factor", 1.0)
    high = scaling.get("high_freq_factor", 4.0)
    context = scaling.get("original_max_position_embeddings", 8192)
    periods = base ** (mx.arange(0, head_dim, 2, dtype=mx.float32) / head_dim)
    turns = context / (2 * math.pi * periods)  # within the original context
    keep = mx.clip((turns - low) / (high - low), 0.0, 1.0)  # 1: as it was, 0: slowed
    return periods / ((1 - keep) / factor + keep)
