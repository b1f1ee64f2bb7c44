"""Models for the tests: tiny ones, and the real one."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from llm.tiny import tiny_config, write_checkpoint, write_gguf

from course_lib.llm import load


@pytest.fixture
def tiny(tmp_path):
    """A function that writes a tiny checkpoint and returns its folder."""

    def write(name: str = "tiny", **options) -> Path:
        config = options.pop("config", tiny_config())
        return write_checkpoint(tmp_path / name, config, **options)

    return write


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory):
    """One tiny Llama for tests that do not care about its shape."""
    folder = write_checkpoint(tmp_path_factory.mktemp("models") / "tiny-llama", tiny_config())
    model, tokenizer = load(folder)
    return SimpleNamespace(model=model, tokenizer=tokenizer, folder=folder)


@pytest.fixture(scope="session")
def smollm2():
    """The real model."""
    model, tokenizer = load("smollm2-135m")
    return SimpleNamespace(model=model, tokenizer=tokenizer)


@pytest.fixture
def cache_folder(tmp_path, monkeypatch):
    """An empty cache folder of the course and of the hub, for this test alone."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("COURSE_CACHE", str(folder))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return folder


@pytest.fixture
def tiny_gguf(tmp_path):
    """A GGUF file named like the real one, and the checkpoint it was made from."""
    source = write_checkpoint(tmp_path / "source", tiny_config())
    return SimpleNamespace(
        path=write_gguf(tmp_path / "SmolLM2-135M-Instruct.Q4_1.gguf", source), source=source
    )
