"""`course serve` as people run it: a process of its own, the real model, OpenAI's own client."""

import json
import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from course_lib.lab.server_process import ServerFailed, ServerProcess, course_serve
from course_lib.llm import generate, load

openai = pytest.importorskip("openai", reason="no client to test with: pip install -e '.[test]'")

pytestmark = pytest.mark.model
NAME = "smollm2-135m"
STORY = "Once upon a time, there was a little girl who"
PARIS = [{"role": "user", "content": "What is the capital of France?"}]
OPTIONS = ["--max-num-seqs", "3", "--max-open-requests", "6", "--max-body-bytes", "100000", "--block-size", "16"]


@pytest.fixture(scope="module")
def server():
    with ServerProcess(course_serve(*OPTIONS)) as server:
        yield server


@pytest.fixture(scope="module")
def client(server):
    return client_of(server)


def client_of(server):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=60)


@pytest.fixture(scope="module")
def alone():
    """What the model says to a prompt when nobody else is there."""
    model, tokenizer = load(NAME)
    return lambda prompt, **options: generate(model, tokenizer, prompt, **options)


def gauge(server, name):
    text = httpx.get(f"{server.url}/metrics").text
    return sum(float(value) for value in re.findall(rf"^engine_{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.02)


def test_it_listens_on_this_machine_alone(server):
    listening = [c.laddr.ip for c in server.process.net_connections("inet") if c.status == "LISTEN"]
    assert listening == ["127.0.0.1"]


def test_models_and_health(server, client):
    (model,) = client.models.list().data
    assert model.id == NAME and client.models.retrieve(NAME).id == NAME
    assert httpx.get(f"{server.url}/health").status_code == 200


def test_a_chat_whole_and_streamed(client, alone):
    options = {"model": NAME, "messages": PARIS, "temperature": 0, "max_tokens": 40}
    whole = client.chat.completions.create(**options)
    said = whole.choices[0].message.content
    assert "Paris" in said and said == alone(PARIS, max_tokens=40)
    assert whole.choices[0].finish_reason == "stop"
    pieces = list(client.chat.completions.create(**options, stream=True, stream_options={"include_usage": True}))
    assert "".join(p.choices[0].delta.content or "" for p in pieces if p.choices) == said
    assert len(pieces) > 5, "it comes piece by piece"
    assert pieces[-1].usage == whole.usage.model_copy(update={"prompt_tokens_details": pieces[-1].usage.prompt_tokens_details})


def test_a_completion_whole_and_streamed(client, alone):
    options = {"model": NAME, "prompt": STORY, "temperature": 0, "max_tokens": 12}
    whole = client.completions.create(**options)
    assert whole.choices[0].text == alone(STORY, max_tokens=12)
    assert (whole.choices[0].finish_reason, whole.usage.completion_tokens) == ("length", 12)
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + 12
    pieces = list(client.completions.create(**options, stream=True))
    assert "".join(p.choices[0].text for p in pieces) == whole.choices[0].text
    assert all(p.usage is None for p in pieces), "counts come only where they are asked for"


def test_a_stop_string_ends_the_text_before_it(client, alone):
    text = alone(STORY, max_tokens=30)
    stop = text.split()[4]
    for stream in (False, True):
        made = client.completions.create(
            model=NAME, prompt=STORY, temperature=0, max_tokens=30, stop=["never said", stop], stream=stream
        )
        pieces = list(made) if stream else [made]
        assert "".join(p.choices[0].text for p in pieces) == text[: text.index(stop)]
        assert pieces[-1].choices[0].finish_reason == "stop"


def test_sampling_follows_its_seed_and_its_limits(client, alone):
    ask = {"model": NAME, "prompt": STORY, "max_tokens": 10}
    said = {seed: client.completions.create(**ask, temperature=1.5, seed=seed).choices[0].text for seed in (1, 2)}
    assert said[1] != said[2]
    assert client.completions.create(**ask, temperature=1.5, seed=1).choices[0].text == said[1]
    unsaid = client.completions.create(**ask, seed=1).choices[0].text
    assert unsaid == client.completions.create(**ask, temperature=1.0, seed=1).choices[0].text
    one_token = client.completions.create(**ask, temperature=1.5, top_p=1e-9).choices[0].text
    assert one_token == alone(STORY, max_tokens=10), "a nucleus of one token is greedy"
    choices = client.completions.create(**ask, temperature=1.5, seed=1, n=2).choices
    assert [choice.text for choice in choices] == [said[1], said[2]]


def test_what_ignores_the_stop_token_runs_to_its_length(client):
    ask = {"model": NAME, "messages": PARIS, "temperature": 0, "max_tokens": 40}
    assert client.chat.completions.create(**ask).usage.completion_tokens < 40
    answer = client.chat.completions.create(**ask, extra_body={"ignore_eos": True})
    assert answer.usage.completion_tokens == 40 and answer.choices[0].finish_reason == "length"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("logprobs", 3), ("echo", True), ("best_of", 2), ("suffix", "."), ("presence_penalty", 0.5),
        ("frequency_penalty", 1.0), ("logit_bias", {"5": 1}), ("top_k", 5), ("guided_regex", "a*"),
        ("repetition_penalty", 1.1),
    ],
)  # fmt: skip
def test_what_it_cannot_do_it_refuses_by_name(client, option, value):
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model=NAME, prompt=STORY, extra_body={option: value})
    assert refused.value.param == option and refused.value.type == "invalid_request_error"
    assert option in refused.value.body["message"] and "leave it out" in refused.value.body["message"]


def test_tools_and_schemas_are_refused(client):
    function = {"type": "function", "function": {"name": "f", "parameters": {}}}
    for option in ({"tools": [function]}, {"response_format": {"type": "json_object"}}, {"logprobs": True}):
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(model=NAME, messages=PARIS, **option)
        assert refused.value.param == next(iter(option))


@pytest.mark.parametrize("length", [150_000, 30_000_000])
def test_a_body_that_is_too_long_gets_413(client, length):
    with pytest.raises(openai.APIStatusError, match="more than 100000 bytes") as refused:
        client.completions.create(model=NAME, prompt="x" * length)
    assert refused.value.status_code == 413


def test_a_burst_gets_answers_or_429_and_nothing_else(server, client, alone):
    def ask(_):
        try:
            made = client.completions.create(model=NAME, prompt=STORY, temperature=0, max_tokens=12)
            return made.choices[0].text
        except openai.RateLimitError as error:
            assert error.response.headers["retry-after"] == "1"
            return error.status_code

    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(ask, range(24)))
    texts = [answer for answer in answers if answer != 429]
    assert set(texts) == {alone(STORY, max_tokens=12)} and 6 <= len(texts) < 24
    assert gauge(server, "num_requests_running") == gauge(server, "kv_cache_bytes") == 0


def test_more_choices_than_there_are_places_are_a_bad_request(client):
    with pytest.raises(openai.BadRequestError, match="7 choices are asked for; this server takes 6"):
        client.completions.create(model=NAME, prompt=STORY, n=7)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_frees_its_row_and_the_others_go_on(server, client, alone, stream):
    expected, stays = alone(STORY, max_tokens=40), []
    other = threading.Thread(
        target=lambda: stays.append(
            client.completions.create(model=NAME, prompt=STORY, temperature=0, max_tokens=40).choices[0].text
        )
    )
    other.start()
    cancelled = gauge(server, 'requests_finished_total')
    body = {"prompt": STORY, "max_tokens": 4000, "stream": stream, "ignore_eos": True}
    if stream:
        with httpx.stream("POST", f"{server.url}/v1/completions", json=body, timeout=30) as answer:
            next(answer.iter_lines())
    else:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}/v1/completions", json=body, timeout=httpx.Timeout(30, read=0.5))
    wait_for(lambda: gauge(server, "requests_finished_total") > cancelled)
    other.join()
    assert stays == [expected]
    wait_for(lambda: gauge(server, "num_requests_running") == 0)
    assert gauge(server, "kv_cache_bytes") == 0


def test_sigterm_lets_a_request_finish(alone):
    with ServerProcess(course_serve("--served-model-name", "mine")) as server, ThreadPoolExecutor() as pool:
        asked = pool.submit(
            client_of(server).completions.create, model="mine", prompt=STORY, temperature=0, max_tokens=40
        )
        wait_for(lambda: gauge(server, "num_requests_running") == 1)
        assert server.stop(signal.SIGTERM) == -signal.SIGTERM
        assert asked.result().choices[0].text == alone(STORY, max_tokens=40)
        assert "Error" not in server.printed()


def test_after_its_time_a_signal_cancels_and_tells_the_clients():
    with ServerProcess(course_serve("--shutdown-timeout", "0.2")) as server, ThreadPoolExecutor() as pool:
        endless = {"prompt": STORY, "max_tokens": 8000, "ignore_eos": True}
        whole = pool.submit(httpx.post, f"{server.url}/v1/completions", json=endless, timeout=60)
        streamed = pool.submit(httpx.post, f"{server.url}/v1/completions", json=endless | {"stream": True}, timeout=60)
        wait_for(lambda: gauge(server, "num_requests_running") == 2)
        assert server.stop(signal.SIGINT) == 0
        assert whole.result().status_code == 503 and whole.result().json()["error"]["code"] == "closing"
        assert streamed.result().status_code == 200
        last = streamed.result().text.strip().split("\n\n")[-1]
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "closing"
        assert "Traceback" not in server.printed()


def test_a_port_that_is_taken_is_one_clear_message(server):
    port = server.url.rsplit(":", 1)[-1]
    with pytest.raises(ServerFailed, match=f"course: cannot listen on 127.0.0.1, port {port}: Address already in use"):
        ServerProcess([*course_serve(), "--port", port]).__enter__()
