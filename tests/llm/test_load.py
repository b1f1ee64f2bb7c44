"""Models by name, by folder, by shape; and what is said when there is none."""

import json
import socket
import subprocess
import sys
import time

import mlx.core as mx
import pytest
from llm.hub_server import hub_server
from llm.tiny import tiny_config, write_checkpoint

from course_lib.llm import CONFIGS, ModelConfig, ModelUnavailable, QuantizedWeight, load, random_model
from course_lib.llm.checkpoints import available_offline
from course_lib.llm.parts import Parts

TINY = ModelConfig.from_dict(tiny_config())
TOKENS = mx.array([[1, 2, 3]])


def at_hub(monkeypatch, url: str) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


@pytest.fixture
def no_network(cache_folder, monkeypatch):
    """Nobody listens where the hub should be."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        at_hub(monkeypatch, f"http://127.0.0.1:{unused.getsockname()[1]}")
        yield cache_folder


def test_importing_the_package_does_not_import_mlx_lm_or_transformers():
    program = (
        "import sys, course_lib.llm; "
        "print([m for m in ('mlx_lm', 'transformers', 'tokenizers', 'huggingface_hub') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_model_comes_from_the_hub_once(tiny, cache_folder, monkeypatch):
    folder = tiny()
    wanted = load(folder)[0](TOKENS)
    with hub_server({"someone/tiny": folder}) as hub:
        at_hub(monkeypatch, hub.url)
        model, tokenizer = load("someone/tiny")
        assert mx.array_equal(model(TOKENS), wanted)
        assert tokenizer.decode(tokenizer.encode("the")) == "the"
        assert hub.files[0] == "config.json" and "model.safetensors" in hub.files
    assert mx.array_equal(load("someone/tiny")[0](TOKENS), wanted)  # the server is gone
    assert available_offline() == ["someone/tiny"]


def test_an_unsupported_hub_model_is_refused_before_its_weights_come(tiny, cache_folder, monkeypatch):
    folder = tiny()
    (folder / "config.json").write_text(json.dumps(tiny_config(model_type="gemma3")))
    with hub_server({"someone/gemma": folder}) as hub:
        at_hub(monkeypatch, hub.url)
        with pytest.raises(ValueError, match="'gemma3' model; implemented are llama, qwen2, qwen3"):
            load("someone/gemma")
        assert hub.files == ["config.json"]


def test_a_download_that_broke_off_is_completed(tiny, cache_folder, monkeypatch):
    from huggingface_hub import hf_hub_download

    folder = tiny()
    with hub_server({"someone/tiny": folder}) as hub:
        at_hub(monkeypatch, hub.url)
        hf_hub_download("someone/tiny", "config.json")
        hf_hub_download("someone/tiny", "model.safetensors.index.json")
        assert available_offline() == []
        load("someone/tiny")
        assert "model.safetensors" in hub.files


def test_a_hub_repository_without_a_config_is_no_model(tiny, cache_folder, monkeypatch):
    folder = tiny()
    (folder / "config.json").unlink()
    with hub_server({"someone/data": folder}) as hub:
        at_hub(monkeypatch, hub.url)
        with pytest.raises(ValueError, match="someone/data has no config.json"):
            load("someone/data")


def test_a_name_the_hub_does_not_know(cache_folder, monkeypatch):
    with hub_server({}) as hub:
        at_hub(monkeypatch, hub.url)
        with pytest.raises(ModelUnavailable, match="The hub has no model 'someone/nothing'"):
            load("someone/nothing")


def test_without_a_network_one_error_lists_what_there_is(no_network):
    write_checkpoint(no_network / "models" / "mine", tiny_config())
    start = time.monotonic()
    with pytest.raises(ModelUnavailable) as caught:
        load("mlx-community/Qwen3-0.6B-4bit")
    assert time.monotonic() - start < 5
    message = str(caught.value)
    assert "mlx-community/Qwen3-0.6B-4bit is not on this machine" in message
    assert "Available offline: mine; load('smollm2-135m') fetches the course's model" in message
    assert load("mine")[0].config == TINY


def test_a_hub_that_accepts_and_never_answers_is_given_up_on(cache_folder, monkeypatch):
    monkeypatch.setattr("course_lib.llm.checkpoints._HUB_SECONDS", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        at_hub(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        with pytest.raises(ModelUnavailable, match="cannot be reached"):
            load("someone/tiny")
        assert time.monotonic() - start < 5


@pytest.mark.parametrize("name", ["no-such-model", "", "a/b/c", "../elsewhere"])
def test_a_name_that_is_nothing_lists_what_there_is(no_network, name):
    with pytest.raises(ModelUnavailable, match=r"no model or folder .*\n.*Nothing is available offline yet"):
        load(name)


def test_a_folder_without_a_config_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no config.json"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "mamba"}, "'mamba' model; implemented are"),
        (
            {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
            "RoPE by 'yarn'; implemented are default, linear",
        ),
        ({"rope_scaling": {"type": "linear"}}, "no 'factor'"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "sliding-window"),
        ({"use_sliding_window": True}, "sliding-window"),
        ({"hidden_size": None}, "has no hidden_size"),
        ({"num_key_value_heads": 3}, "4 query heads cannot share 3"),
        ({"head_dim": 15}, "head_dim is 15"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
    ],
)
def test_what_is_not_implemented_is_refused_by_name(tiny, change, message):
    folder = tiny()
    (folder / "config.json").write_text(json.dumps(tiny_config(**change)))
    with pytest.raises(ValueError, match=message):
        load(folder)


def test_other_quantizations_are_refused_by_name(tiny):
    with pytest.raises(ValueError, match="embed_tokens is quantized as 'mxfp4'"):
        load(tiny(bits=4, predicate=lambda path, module: {"group_size": 32, "bits": 4, "mode": "mxfp4"}))


@pytest.mark.parametrize(
    "make", [lambda **options: load(".", **options), lambda **options: random_model(TINY, **options)]
)
def test_a_bad_dtype_is_refused(make):
    with pytest.raises(ValueError, match="wanted mx.float32, mx.float16, mx.bfloat16"):
        make(dtype=mx.int32)


@pytest.mark.parametrize("name", CONFIGS)
def test_real_shapes_are_known_by_name(name):
    config = CONFIGS[name]
    parameters = (
        config.num_hidden_layers
        * (
            2 * config.num_attention_heads * config.head_dim * config.hidden_size
            + 2 * config.num_key_value_heads * config.head_dim * config.hidden_size
            + 3 * config.hidden_size * config.intermediate_size
        )
        + config.vocab_size * config.hidden_size
    )
    millions = {"smollm2-135m": 135, "llama-3.2-1b": 1236, "qwen2.5-0.5b": 494, "qwen3-0.6b": 596}
    assert parameters / 1e6 == pytest.approx(millions[name], abs=1)


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize(("bits", "group_size"), [(None, 64), (2, 32), (3, 32), (4, 32), (6, 32), (8, 32)])
def test_random_models_have_the_shapes_asked_for_and_sane_logits(family, bits, group_size):
    config = ModelConfig.from_dict(tiny_config(family, tie_word_embeddings=False))
    model = random_model(config, bits=bits, group_size=group_size)
    weight = model.blocks[0].weights.k_proj
    assert weight.shape == (32, 64)
    assert isinstance(weight, QuantizedWeight) == (bits is not None)
    assert (weight.bias is not None) == (family == "qwen2")
    logits = model(TOKENS)
    assert logits.shape == (1, 3, config.vocab_size)
    assert 0.2 < mx.std(logits).item() < 5


def test_a_random_models_seed_decides_its_weights():
    first, again, other = (random_model(TINY, group_size=32, seed=seed)(TOKENS) for seed in (1, 1, 2))
    assert mx.array_equal(first, again)
    assert not mx.allclose(first, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": 7}, "bits=7, group_size=64; MLX quantizes to"),
        ({"group_size": 48}, "group_size=48"),
        ({"group_size": 64}, "intermediate_size is 96, not a multiple of group_size 64; use group_size 32"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_random_models_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        random_model(TINY, **options)


def test_an_unknown_shape_lists_the_known_ones():
    with pytest.raises(ValueError, match="no shape is known for 'gpt-5'; there are smollm2-135m"):
        random_model("gpt-5")


def test_int8_activations_are_a_matter_of_the_native_parts(monkeypatch):
    with pytest.raises(ValueError, match="give parts or int8_activations"):
        load("smollm2-135m", parts=Parts(), int8_activations=True)
    monkeypatch.setattr("course_lib.kernels.cpu_parts", lambda int8_activations: None)
    with pytest.raises(ValueError, match="needs the native CPU kernels"):
        load("smollm2-135m", int8_activations=True)
