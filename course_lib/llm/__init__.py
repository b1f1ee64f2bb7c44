"""Load a real language model and run it, with parts you can replace.

    from course_lib.llm import generate, load

    model, tokenizer = load("smollm2-135m")
    print(generate(model, tokenizer, [{"role": "user", "content": "What is a cache?"}]))

Read `model.py` first, then `generate.py`. Importing this package is quick; mlx-lm and transformers
are imported when a model is loaded.
"""

from course_lib.llm.config import CONFIGS, ModelConfig
from course_lib.llm.errors import ModelUnavailable
from course_lib.llm.generate import Piece, generate, stream_generate
from course_lib.llm.load import load, random_model
from course_lib.llm.model import Model
from course_lib.llm.parts import DenseWeight, Parts, QuantizedWeight, default_parts
from course_lib.llm.sampling import Sampler, SamplingParams

__all__ = [
    "CONFIGS",
    "DenseWeight",
    "Model",
    "ModelConfig",
    "ModelUnavailable",
    "Parts",
    "Piece",
    "QuantizedWeight",
    "Sampler",
    "SamplingParams",
    "default_parts",
    "generate",
    "load",
    "random_model",
    "stream_generate",
]
