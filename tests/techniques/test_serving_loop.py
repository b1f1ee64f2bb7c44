"""The loop on a real, tiny model: each request says what it says alone, and no row leaks."""

import mlx.core as mx
import pytest
from llm.tiny import tiny_config, write_checkpoint

from course_lib.lab.model_batch import ModelBatch
from course_lib.llm import load
from course_lib.techniques.batched_kv_cache import BatchedKVCache
from course_lib.techniques.scheduling import Limits, schedule_chunked, schedule_continuous, schedule_static
from course_lib.techniques.serving_loop import Request, ServingLoop
from course_lib.techniques.waiting_order import order_waiting


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load(write_checkpoint(tmp_path_factory.mktemp("models") / "tiny", tiny_config()))[0]


def alone(model, prompt, count):
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(mx.argmax(model(mx.array([tokens]))[0, -1]).item())
    return tokens[len(prompt) :]


def loop_on(model, schedule, limits):
    return ServingLoop(ModelBatch(model, lambda: BatchedKVCache(limits.max_num_seqs)), schedule, limits)


@pytest.mark.parametrize(
    ("schedule", "limits"),
    [(schedule_static, Limits(3)), (schedule_continuous, Limits(3)), (schedule_chunked, Limits(3, 4))],
)
def test_each_request_says_what_it_says_alone(model, schedule, limits):
    loop = loop_on(model, schedule, limits)
    requests = [Request([10 + i] * (1 + 2 * i), 2 + i % 4, arrival_time=float(i)) for i in range(7)]
    for request in requests:
        loop.add(request)
    for now in range(60):
        loop.step(float(now))
        assert len(loop.running) <= 3
    for request in requests:
        assert request.generated == alone(model, request.prompt, request.max_tokens)
        assert request.finish_reason == "length"
    assert loop.batch.nbytes_used == 0 and not loop.batch.requests


def test_stop_and_cancel_free_the_row(model):
    loop = loop_on(model, schedule_continuous, Limits(2))
    told = alone(model, [5, 6, 7], 6)
    stops = Request([5, 6, 7], 20, stop_tokens={told[2]})
    gone, waits = Request([8, 8], 20), Request([9], 20)
    for request in (stops, gone, waits):
        loop.add(request)
    loop.step(0.0)
    loop.cancel(gone)
    loop.cancel(waits)
    assert len(loop.batch.requests) == 1 and not loop.waiting
    while loop.running:
        loop.step(0.0)
    assert stops.generated == told[: told.index(told[2])] and stops.finish_reason == "stop"
    loop.cancel(stops)
    assert [r.finish_reason for r in (stops, gone, waits)] == ["stop", "cancelled", "cancelled"]
    assert loop.batch.nbytes_used == 0


def test_the_shortest_goes_first_until_another_has_waited_long_enough():
    long, short = Request([1], 40, arrival_time=0.0), Request([1], 4, arrival_time=10.0)
    assert order_waiting([long, short], 10.0) == [short, long]
    late = Request([1], 4, arrival_time=100.0)
    assert order_waiting([long, late], 100.0) == [long, late]
