"""A tiny model for the engine's tests, and a clock that tests move."""

from types import SimpleNamespace

import pytest
from llm.tiny import tiny_config, write_checkpoint

from course_lib.llm import load


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A tiny quantized Llama and its tokenizer."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    model, tokenizer = load(write_checkpoint(folder, tiny_config(), bits=4))
    return SimpleNamespace(model=model, tokenizer=tokenizer, folder=folder)


@pytest.fixture
def clock():
    return Clock()


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
