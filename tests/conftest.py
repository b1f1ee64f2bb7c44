"""Tests never touch a learner's store."""

import hypothesis
import pytest

# How long an example takes says nothing about the code, least of all on a busy machine.
hypothesis.settings.register_profile("course", deadline=None)
hypothesis.settings.load_profile("course")


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_STORE", str(tmp_path / "store"))
    monkeypatch.delenv("COURSE_STRICT", raising=False)
    return tmp_path / "store"
