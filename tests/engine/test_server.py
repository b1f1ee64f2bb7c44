"""The HTTP server, through a real socket and OpenAI's own client."""

import contextlib
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import uvicorn
from engine.lone import lone_tokens

from course_lib.engine import Engine, EngineConfig
from course_lib.engine.server import ServerLimits, make_app

WITHOUT = "the clients that test the server are not installed: pip install -e '.[test]'"
httpx = pytest.importorskip("httpx", reason=WITHOUT)
openai = pytest.importorskip("openai", reason=WITHOUT)

PROMPT = [5, 9, 77, 130]
NAME = "tiny"


@contextlib.contextmanager
def serving(engine, limits=None):
    """The server in a thread, on a free port of the loopback interface."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        port = listener.getsockname()[1]
        app = make_app(engine, NAME, limits)
        config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        url = f"http://127.0.0.1:{port}"
        try:
            wait_for(lambda: server.started)
            client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=30)
            yield SimpleNamespace(url=url, client=client, engine=engine, server=server, app=app)
        finally:
            server.should_exit = True
            if isinstance(engine, Held):
                engine.may_step.set()
            thread.join(20)
    assert not thread.is_alive()
    assert engine.cache_bytes == 0 and not engine.has_unfinished


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def served(tiny):
    config = EngineConfig(max_num_seqs=4, block_size=4, kv_cache_memory_bytes=2**20, max_num_batched_tokens=16)
    limits = ServerLimits(max_body_bytes=20_000, max_open_requests=6)
    with serving(Engine(tiny.model, tiny.tokenizer, config), limits) as served:
        yield served


def text_of(tiny, prompt, count):
    return Engine(tiny.model, tiny.tokenizer).generate([prompt], max_tokens=count)[0]


def test_health_and_models(served):
    assert httpx.get(f"{served.url}/health").json() == {"status": "ok"}
    (model,) = served.client.models.list().data
    assert (model.id, model.object) == (NAME, "model")
    assert served.client.models.retrieve(NAME).id == NAME
    with pytest.raises(openai.NotFoundError, match="the model 'other' does not exist here; this server has 'tiny'"):
        served.client.models.retrieve("other")


def test_a_completion_whole_and_in_pieces(served, tiny):
    options = {"model": NAME, "prompt": PROMPT, "max_tokens": 10, "temperature": 0}
    whole = served.client.completions.create(**options)
    assert whole.object == "text_completion" and whole.id.startswith("cmpl-") and whole.model == NAME
    assert whole.choices[0].text == text_of(tiny, PROMPT, 10)
    generated = whole.usage.completion_tokens
    assert (whole.usage.prompt_tokens, whole.usage.total_tokens) == (4, 4 + generated)
    pieces = list(served.client.completions.create(**options, stream=True, stream_options={"include_usage": True}))
    assert "".join(p.choices[0].text for p in pieces if p.choices) == whole.choices[0].text
    reasons = [p.choices[0].finish_reason for p in pieces if p.choices]
    assert reasons[:-1] == [None] * (len(reasons) - 1) and reasons[-1] == whole.choices[0].finish_reason
    assert pieces[-1].usage.completion_tokens == generated and not pieces[-1].choices
    assert len({p.id for p in pieces}) == 1


def test_a_chat_whole_and_in_pieces(served, tiny):
    messages = [{"role": "system", "content": "be"}, {"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    options = {"model": NAME, "messages": messages, "max_completion_tokens": 6, "temperature": 0}
    whole = served.client.chat.completions.create(**options)
    plain = [messages[0], {"role": "user", "content": "hi"}]
    assert whole.choices[0].message.content == text_of(tiny, plain, 6)
    assert whole.choices[0].message.role == "assistant" and whole.object == "chat.completion"
    pieces = list(served.client.chat.completions.create(**options, stream=True))
    assert pieces[0].choices[0].delta.role == "assistant" and pieces[0].object == "chat.completion.chunk"
    assert "".join(p.choices[0].delta.content or "" for p in pieces) == whole.choices[0].message.content
    assert [p.choices[0].finish_reason for p in pieces][-1] == whole.choices[0].finish_reason


def test_seeds_choices_and_several_prompts(served):
    options = {"model": NAME, "max_tokens": 8, "temperature": 1.0}
    one = served.client.completions.create(prompt=PROMPT, seed=3, n=2, **options)
    again = served.client.completions.create(prompt=PROMPT, seed=3, n=2, **options)
    texts = [choice.text for choice in one.choices]
    assert texts == [choice.text for choice in again.choices] and texts[0] != texts[1]
    assert [choice.index for choice in one.choices] == [0, 1]
    assert one.usage.prompt_tokens == 4
    other = served.client.completions.create(prompt=PROMPT, seed=4, **options)
    assert other.choices[0].text == texts[1]  # each choice has the next seed
    several = served.client.completions.create(prompt=[[5, 6], [7, 8, 9]], seed=3, **options)
    assert len(several.choices) == 2 and several.usage.prompt_tokens == 5


def test_stop_strings(served, tiny):
    whole = text_of(tiny, PROMPT, 20)
    stop = whole[5:7]
    answer = served.client.completions.create(
        model=NAME, prompt=PROMPT, max_tokens=20, temperature=0, stop=[stop, "never said"]
    )
    assert answer.choices[0].text == whole[: whole.index(stop)]
    assert answer.choices[0].finish_reason == "stop"


def test_sixteen_tokens_unless_said_and_text_prompts(served):
    answer = served.client.completions.create(model=NAME, prompt="hello", temperature=0)
    assert answer.usage.completion_tokens <= 16


BAD = [
    ({"prompt": ""}, 400, "prompt", "the prompt is empty"),
    ({"prompt": []}, 400, "prompt", "the prompt is empty"),
    ({}, 400, "prompt", "Field required"),
    ({"prompt": [5] * 200}, 400, "prompt", "the context 128"),
    ({"prompt": [5, 5000]}, 400, "prompt", "token 1 of the prompt is 5000"),
    ({"prompt": "x", "max_tokens": 0}, 400, "max_tokens", "max_tokens=0; wanted an integer, at least 1"),
    ({"prompt": "x", "max_tokens": "5"}, 400, "max_tokens", "valid integer"),
    ({"prompt": "x", "temperature": -1}, 400, "temperature", "wanted a number, 0 or more"),
    ({"prompt": "x", "top_p": 2}, 400, "top_p", "wanted a number above 0"),
    ({"prompt": "x", "stop": ""}, 200, None, None),
    ({"prompt": "x", "stop": ["a", ""]}, 400, "stop", "at least one character"),
    ({"prompt": "x", "n": 0}, 400, "n", "greater than or equal to 1"),
    ({"prompt": "x", "seed": -2}, 400, "seed", "seed=-2"),
    ({"prompt": "x", "tempratur": 1}, 400, "tempratur", "this server does not know 'tempratur'"),
    ({"prompt": "x", "logprobs": 3}, 400, None, "logprobs is not supported by this server"),
    ({"prompt": "x", "model": "gpt-4"}, 404, "model", "this server has 'tiny'"),
    ({"prompt": "x", "user": "me", "presence_penalty": 0}, 200, None, None),
    ({"prompt": {"a": 1}}, 400, "prompt", ""),
]


@pytest.mark.parametrize(("body", "status", "param", "message"), BAD)
def test_bad_requests_are_told_what_is_wrong(served, body, status, param, message):
    body = body if "max_tokens" in body else body | {"max_tokens": 2}
    answer = httpx.post(f"{served.url}/v1/completions", json=body)
    assert answer.status_code == status, answer.text
    if status != 200:
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert message in error["message"] and error["type"] == "invalid_request_error"
        assert (error["param"] or "").startswith(param or "")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not JSON"), (b"{", "not JSON"), (b"\xff\xfe", "not JSON"), (b"[1]", "a JSON list; wanted an object"),
        (b"[" * 15_000, "nested too deeply"), (b'{"messages": []}', "messages"),
        (b'{"messages": [{"role": "robot", "content": "x"}]}', "messages.0.role"),
        (b'{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}', "messages.0.content"),
    ],
)  # fmt: skip
def test_bodies_that_are_no_requests(served, body, message):
    answer = httpx.post(f"{served.url}/v1/chat/completions", content=body)
    assert answer.status_code == 400 and message in answer.json()["error"]["message"]


def test_wrong_paths_and_methods_have_openais_shape(served):
    for method, path, status in (("GET", "/v2", 404), ("GET", "/v1/completions", 405), ("POST", "/health", 405)):
        answer = httpx.request(method, served.url + path)
        assert answer.status_code == status and answer.json()["error"]["type"] == "invalid_request_error"


def test_a_large_body_is_refused(served):
    body = b'{"prompt": "' + b"x" * 30_000 + b'"}'
    for content in (body, iter([body[:15_000], body[15_000:]])):  # one announces its length, one comes in chunks
        answer = httpx.post(f"{served.url}/v1/completions", content=content)
        assert answer.status_code == 413 and "20000 bytes" in answer.json()["error"]["message"]


class Held(Engine):
    """An engine whose steps wait until they may."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.may_step = threading.Event()

    def step(self):
        self.may_step.wait()
        return super().step()


@pytest.mark.parametrize("stream", [True, False])
def test_too_many_at_a_time_are_refused_and_the_others_finish(tiny, stream):
    engine = Held(tiny.model, tiny.tokenizer)
    body = {"prompt": PROMPT, "max_tokens": 3, "temperature": 0, "stream": stream}
    with serving(engine, ServerLimits(max_open_requests=2)) as served:

        def ask(_):
            return httpx.post(f"{served.url}/v1/completions", json=body, timeout=30)

        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(ask, i) for i in range(8)]
            wait_for(lambda: sum(each.done() for each in asked) == 6)
            assert {each.result().status_code for each in asked if each.done()} == {429}
            with pytest.raises(openai.RateLimitError, match="takes 2 at a time"):
                served.client.completions.create(model=NAME, prompt=PROMPT)
            engine.may_step.set()
            assert sorted(each.result().status_code for each in asked) == [200] * 2 + [429] * 6
        assert ask(0).status_code == 200, "their places are free again"


def test_a_request_that_is_refused_gives_its_place_back(tiny):
    with serving(Engine(tiny.model, tiny.tokenizer), ServerLimits(max_open_requests=1)) as served:
        for bad in ({"prompt": [5] * 200}, {"prompt": "x", "temperature": -1}, {"prompt": "", "stream": True}):
            assert httpx.post(f"{served.url}/v1/completions", json=bad).status_code == 400
        assert httpx.post(f"{served.url}/v1/completions", json={"prompt": PROMPT}).status_code == 200


def test_a_body_that_never_ends_is_given_up(tiny):
    with serving(Engine(tiny.model, tiny.tokenizer), ServerLimits(body_timeout=0.2)) as served:
        with socket.create_connection(("127.0.0.1", int(served.url.rsplit(":")[-1]))) as client:
            client.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{")
            client.settimeout(10)
            assert client.recv(1000).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"prompt": [' + b'1, "a", ' * 2000 + b"1]}", "prompt"), (b'{"prompt": [[1], "a"]}', "prompt"),
        (b'{"prompt": [1, true]}', "prompt"), (b'{"prompt": null}', "prompt"),
        (b'{"prompt": "a", "stop": [' + b'"x", ' * 16 + b'"x"]}', "stop"),
        (b'{"prompt": "a", "stop": "' + b"x" * 257 + b'"}', "stop"), (b'{"prompt": "a", "stop": [1]}', "stop"),
        (b'{"prompt": "a", "stop": {}}', "stop"), (b'{"prompt": "a", "ignore_eos": 1}', "ignore_eos"),
        (b'{"prompt": "a", "stream_options": {"a": 1}}', "stream_options.a"),
        (b'{"prompt": "a", "temperature": NaN}', "temperature"), (b'{"prompt": "a", "n": 129}', "n"),
    ],
)  # fmt: skip
def test_odd_values_are_refused_by_name(served, body, param):
    answer = httpx.post(f"{served.url}/v1/completions", content=body)
    assert answer.status_code == 400 and answer.json()["error"]["param"] == param, answer.text


def test_metrics_count_what_was_done(tiny):
    engine = Engine(tiny.model, tiny.tokenizer)
    with serving(engine) as served:
        served.client.completions.create(model=NAME, prompt=PROMPT, max_tokens=3, extra_body={"ignore_eos": True})
        answer = httpx.get(f"{served.url}/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        lines = answer.text.splitlines()
        values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        assert values.pop("engine_busy_seconds_total") == str(engine.metrics.busy_seconds)
        assert int(values.pop("engine_active_memory_bytes")) > 0
        assert values == {
            "engine_num_requests_open": "0",
            "engine_num_requests_running": "0", "engine_num_requests_waiting": "0", "engine_kv_cache_bytes": "0",
            "engine_num_preemptions_total": "0", "engine_num_steps_total": "3", "engine_num_tokens_total": "6",
            "engine_generation_tokens_total": "3", 'engine_requests_finished_total{reason="length"}': "1",
        }  # fmt: skip
        assert sum(line.startswith("# TYPE") for line in lines) == 11


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_frees_its_row(tiny, stream):
    engine = Held(tiny.model, tiny.tokenizer)
    body = json.dumps({"prompt": PROMPT, "max_tokens": 100, "stream": stream}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    with serving(engine) as served:
        with socket.create_connection(("127.0.0.1", int(served.url.rsplit(":")[-1]))) as client:
            client.sendall(head.encode() + body)
            wait_for(lambda: served.app.state.engine.num_open == 1)
        wait_for(lambda: served.app.state.engine.num_open == 0)  # it heard, while no step is done
        engine.may_step.set()
        wait_for(lambda: engine.metrics.num_finished.get("cancelled") == 1)
        assert engine.metrics.num_generated < 100
        after = served.client.completions.create(model=NAME, prompt=PROMPT, max_tokens=3, temperature=0)
        assert after.choices[0].text == text_of(tiny, PROMPT, 3)


def test_closing_finishes_what_can_be_finished_and_cancels_the_rest(tiny):
    engine = Held(tiny.model, tiny.tokenizer)
    with serving(engine) as served:
        got = []

        def ask():
            got.append(httpx.post(f"{served.url}/v1/completions", json={"prompt": PROMPT}, timeout=30))

        thread = threading.Thread(target=ask)
        thread.start()
        wait_for(lambda: engine.waiting)
        served.server.should_exit = True
        time.sleep(0.2)
        engine.may_step.set()
        thread.join()
        assert got[0].status_code == 200


def test_an_engine_that_fails_tells_its_clients_and_serves_the_next(tiny):
    broken = [True]

    class Failing(Engine):
        def _choose(self, step):
            if broken[0]:
                raise FloatingPointError("a part failed")
            return super()._choose(step)

    with serving(Failing(tiny.model, tiny.tokenizer)) as served:
        with pytest.raises(openai.InternalServerError, match="the engine failed; see the server's log"):
            served.client.completions.create(model=NAME, prompt=PROMPT)
        streamed = httpx.post(f"{served.url}/v1/completions", json={"prompt": PROMPT, "stream": True})
        assert json.loads(streamed.text.removeprefix("data: "))["error"]["type"] == "server_error"
        broken[0] = False
        answer = served.client.completions.create(model=NAME, prompt=PROMPT, max_tokens=3, temperature=0)
        assert answer.usage.completion_tokens == len(lone_tokens(tiny.model, PROMPT, 3))
