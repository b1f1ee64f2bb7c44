"""A request's path is what the engine did, step by step."""

import pytest
from llm.tiny import tiny_config, write_checkpoint

from course_lib.engine import Engine, EngineConfig
from course_lib.engine.cache_room import bytes_a_token
from course_lib.lab.picture import png_of
from course_lib.lab.request_path import request_path, trace
from course_lib.llm import load

PROMPTS = [[5, 9, 77, 130, 2, 3], [40, 41, 42, 43, 44, 45, 46], [60, 61, 62]]


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Three requests in a pool with room for two: (paths, requests)."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    model, tokenizer = load(write_checkpoint(folder, tiny_config(), bits=4))
    pool = 6 * 4 * bytes_a_token(model)
    config = EngineConfig(max_num_seqs=3, max_num_batched_tokens=4, block_size=4, kv_cache_memory_bytes=pool)
    engine = Engine(model, tokenizer, config)
    requests = [engine.add(prompt, max_tokens=7, stop_tokens=()) for prompt in PROMPTS]
    return trace(engine, requests, tokenizer), requests


def test_a_path_has_the_tokens_that_the_request_took_through_the_model(paths):
    for path, request in zip(*paths, strict=True):
        again = request.metrics.num_preemptions  # after which its tokens are read again
        tokens = sum(moment.tokens for moment in path.moments)
        assert tokens >= len(request.prompt) + 7 - 1 if again else tokens == len(request.prompt) + 7 - 1
        assert max(moment.tokens + moment.others for moment in path.moments) <= 4
        assert path.prompt == len(request.prompt)


def test_each_token_has_its_step(paths):
    for path, request in zip(*paths, strict=True):
        said = [moment for moment in path.moments if moment.piece is not None]
        assert len(said) == len(request.generated) == 7
        assert path.moments[-1] is said[-1]


def test_blocks_are_as_many_as_the_computed_tokens_need_and_none_while_it_waits(paths):
    for path in paths[0]:
        for moment in path.moments[:-1]:  # in the last step they have been given back
            if moment.waits or moment.preempted:
                assert not moment.blocks
            elif moment.tokens:
                assert len(moment.blocks) == -(-moment.computed // 4)


def test_who_stepped_back_is_marked_as_often_as_the_engine_counted_it(paths):
    found = [sum(moment.preempted for moment in path.moments) for path in paths[0]]
    assert found == [request.metrics.num_preemptions for request in paths[1]]
    assert sum(found) > 0


def test_each_path_can_be_drawn(paths):
    for path in paths[0]:
        assert png_of(request_path(path)).startswith(b"\x89PNG")
