"""Tests never touch a learner's store."""

import pytest


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_STORE", str(tmp_path / "store"))
    monkeypatch.delenv("COURSE_STRICT", raising=False)
    return tmp_path / "store"
