"""Make a model: a real one by name, or one with random weights in a real one's shape."""

import os
from pathlib import Path
from typing import Any

import mlx.core as mx

from course_lib.llm.checkpoints import find_checkpoint
from course_lib.llm.config import CONFIGS, ModelConfig
from course_lib.llm.model import Model
from course_lib.llm.parts import Parts, default_parts
from course_lib.llm.random_weights import random_weights
from course_lib.llm.weights import ModelWeights, from_mlx_lm

_DTYPES = (mx.float32, mx.float16, mx.bfloat16)


def load(
    name_or_path: str | os.PathLike,
    *,
    dtype: mx.Dtype | None = None,
    parts: Parts | None = None,
    int8_activations: bool = False,
    **replaced: Any,
) -> tuple[Model, Any]:
    """Load a model and its tokenizer.

    Args:
        name_or_path: "smollm2-135m", the embedded model; a folder with a Llama, Qwen2 or Qwen3
            checkpoint in MLX format; or such a model's name on the Hugging Face hub, for example
            "mlx-community/Qwen3-0.6B-4bit".
        dtype: of the activations. By default float32 on the CPU, where MLX's half-precision
            kernels are slow and inexact, and the checkpoint's own on a GPU.
        parts: what the model is made of; by default `default_parts()`. `Parts()` is MLX's own.
        int8_activations: on the CPU, round what goes into a product with a quantized weight to 8 bits,
            32 features at a time, as llama.cpp does. Faster, and no longer the same text: the bench
            `int8` says what it costs.
        **replaced: your own parts, by name: linear, attention, rms_norm, rope, swiglu, cache (see
            `parts.py`). `cache=None` makes a model that computes the whole sequence each time.

    Returns:
        The model, and mlx-lm's tokenizer wrapper (encode, decode, apply_chat_template,
        eos_token_ids, detokenizer).

    Raises:
        ModelUnavailable: the model is not here and cannot be fetched; lists what is.
        ValueError: the checkpoint needs something that is not implemented, a bad dtype, or int8
            activations beside parts or without the native kernels.
        TypeError: no such part.
    """
    if parts is not None and int8_activations:
        raise ValueError("int8_activations is a matter of the default parts; give parts or int8_activations")
    chosen = (parts or default_parts(int8_activations)).replaced(**replaced)
    _check_dtype(dtype)
    folder = find_checkpoint(name_or_path)
    from mlx_lm.utils import load_config, load_tokenizer

    config = load_config(folder)
    model = _read_model(folder, ModelConfig.from_dict(config), chosen, dtype)
    return model, load_tokenizer(folder, eos_token_ids=config.get("eos_token_id"))


def _read_model(folder: Path, config: ModelConfig, parts: Parts, dtype: mx.Dtype | None) -> Model:
    from mlx_lm.utils import load_model

    # mlx-lm's loader knows the checkpoints' many dialects; of its model only the weights are kept.
    weights = from_mlx_lm(load_model(folder, lazy=True)[0])
    return _make_model(config, weights, parts, dtype)


def _make_model(config: ModelConfig, weights: ModelWeights, parts: Parts, dtype: mx.Dtype | None) -> Model:
    if dtype is None:
        dtype = mx.float32 if mx.default_device() == mx.cpu else weights.dtype
    weights = weights.astype(dtype)
    mx.eval(weights.arrays())
    return Model(config, weights, parts)


def random_model(
    name_or_config: str | ModelConfig,
    *,
    bits: int | None = 4,
    group_size: int = 64,
    seed: int = 0,
    dtype: mx.Dtype | None = None,
    parts: Parts | None = None,
    **replaced: Any,
) -> Model:
    """A model with random weights: as fast as the real one, and talks nonsense.

    Args:
        name_or_config: a name in `CONFIGS` ("smollm2-135m", "llama-3.2-1b", "qwen2.5-0.5b",
            "qwen3-0.6b") or a `ModelConfig`.
        bits: per weight; None for dense weights.
        group_size: input features that share a scale, where quantized.
        seed: the same seed gives the same weights.
        dtype: of activations and scales; by default float32 on the CPU, float16 on a GPU.
        parts, **replaced: as for `load`.

    Raises:
        ValueError: no such name, bits, group_size or dtype, or shapes that do not divide.
        TypeError: no such part.
    """
    chosen = (parts or default_parts()).replaced(**replaced)
    _check_dtype(dtype)
    config = name_or_config
    if not isinstance(config, ModelConfig):
        if config not in CONFIGS:
            raise ValueError(
                f"no shape is known for {config!r}; there are {', '.join(CONFIGS)}, or pass a ModelConfig"
            )
        config = CONFIGS[config]
    if dtype is None:
        dtype = mx.float32 if mx.default_device() == mx.cpu else mx.float16
    return Model(config, random_weights(config, bits, group_size, seed, dtype), chosen)


def _check_dtype(dtype: mx.Dtype | None) -> None:
    if dtype is not None and dtype not in _DTYPES:
        raise ValueError(f"dtype={dtype!r}; wanted mx.float32, mx.float16, mx.bfloat16 or None")
