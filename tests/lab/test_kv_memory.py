"""The memory table agrees with real caches and with the shapes of the models that the course can load."""

import mlx.core as mx
import pytest

from course_lib.lab.kv_memory import KV_SHAPES, KVShape, cache_size_bars
from course_lib.lab.picture import png_of
from course_lib.llm import CONFIGS
from course_lib.techniques.kv_cache import ConcatKVCache


@pytest.mark.parametrize(
    ("name", "config"),
    [("SmolLM2-135M", "smollm2-135m"), ("Qwen2.5-0.5B", "qwen2.5-0.5b"), ("Qwen3-0.6B", "qwen3-0.6b")],
)
def test_a_shape_is_that_of_the_model(name, config):
    shape, config = KV_SHAPES[name], CONFIGS[config]
    assert (shape.num_layers, shape.num_heads, shape.num_kv_heads, shape.head_dim, shape.context) == (
        config.num_hidden_layers,
        config.num_attention_heads,
        config.num_key_value_heads,
        config.head_dim,
        config.max_position_embeddings,
    )


def test_the_formula_gives_what_a_cache_holds():
    shape = KVShape(num_layers=3, num_heads=4, num_kv_heads=2, head_dim=8, context=100, source="")
    layers = [ConcatKVCache() for _ in range(shape.num_layers)]
    for layer in layers:
        keys = mx.zeros((5, shape.num_kv_heads, 11, shape.head_dim), mx.float16)
        layer.update_and_fetch(keys, keys)
    assert sum(layer.nbytes for layer in layers) == shape.cache_bytes(11, batch=5, bytes_per_value=2)


def test_known_sizes():
    assert KV_SHAPES["Llama-2-7B"].bytes_per_token() == 512 * 1024
    assert KV_SHAPES["Llama-3-8B"].bytes_per_token() == 128 * 1024


def test_the_kind_follows_from_the_heads():
    assert {name: shape.kind for name, shape in KV_SHAPES.items() if shape.kind != "GQA"} == {
        "Falcon-7B": "MQA",
        "Llama-2-7B": "MHA",
    }


def test_every_shape_names_its_source():
    assert all(shape.source.startswith("https://") for shape in KV_SHAPES.values())


def test_the_chart_writes_each_size_and_marks_a_text_beyond_the_context():
    figure = cache_size_bars(4096)
    words = [text.get_text() for text in figure.axes[0].texts]
    assert "2.00 GiB" in words
    assert "32.0 MiB  (context 2,048)" in words


@pytest.mark.parametrize(("tokens", "batch", "width"), [(1, 1, 0.5), (131072, 64, 4)])
def test_the_chart_can_be_drawn_for_the_extremes_of_its_widget(tokens, batch, width):
    assert png_of(cache_size_bars(tokens, batch, width, limit=8 * 2**30)).startswith(b"\x89PNG")
