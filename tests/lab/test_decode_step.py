"""A decode step to be timed does what a decode step does, in rows and in blocks."""

import mlx.core as mx
import pytest
from llm.tiny import tiny_config, write_checkpoint

from course_lib.lab.decode_step import decode_step
from course_lib.llm import load


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return load(write_checkpoint(tmp_path_factory.mktemp("models") / "tiny", tiny_config()))


@pytest.mark.parametrize("block_size", [1, 4, 16])
def test_rows_and_blocks_compute_the_same(tiny, block_size):
    rows = decode_step(*tiny, batch=3, context=9, block_size=None, steps=4)
    blocks = decode_step(*tiny, batch=3, context=9, block_size=block_size, steps=4)
    before = None
    for _ in range(4):
        logits = rows()
        assert logits.shape == (3, tiny[0].config.vocab_size)
        assert mx.allclose(blocks(), logits, atol=1e-4)
        assert before is None or not mx.allclose(before, logits, atol=1e-6)  # one more token was read
        before = logits
