"""Clients and servers to measure with: what they report is what was there."""

import asyncio
import socket
import sys
import threading

import pytest

from course_lib.lab.http_load import at_times, in_turn, percentiles
from course_lib.lab.server_process import ServerFailed, ServerProcess

EVENT = 'data: {{"choices": [{{"text": "{}", "finish_reason": {}}}], "usage": {}}}\n\n'


class Scripted:
    """A server that answers each connection with the next of some bytes, then closes it."""

    def __init__(self, *answers: bytes) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._answers = answers
        self.asked: list[bytes] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with self._listener:
            for answer in self._answers:
                connection, _ = self._listener.accept()
                with connection:
                    asked = b""
                    while b"}" not in asked:  # the end of the body
                        asked += connection.recv(100_000)
                    self.asked.append(asked)
                    connection.sendall(answer)


def http(body: str, status: int = 200) -> bytes:
    return f"HTTP/1.1 {status} X\r\nConnection: close\r\n\r\n{body}".encode()


def one(*answers: bytes, body=None, retries=0):
    server = Scripted(*answers)
    (reply,) = asyncio.run(in_turn(server.url, [[body or {"prompt": "a"}]], timeout=5, retries=retries))
    return reply, server


def test_a_stream_is_put_together():
    usage = '{"prompt_tokens": 3, "completion_tokens": 2}'
    stream = EVENT.format("Once", "null", "null") + EVENT.format("", "null", "null") + ": ping\n\n"
    reply, server = one(http(stream + EVENT.format(" upon", '"length"', usage) + "data: [DONE]\n\n"))
    assert reply.complete and reply.text == "Once upon" and len(reply.piece_times) == 2
    assert (reply.num_prompt_tokens, reply.num_tokens) == (3, 2)
    assert b'"stream":true' in server.asked[0] and b'"include_usage":true' in server.asked[0]
    metrics = reply.metrics
    assert 0 < metrics.time_to_first_token <= metrics.end_to_end_latency and len(metrics.inter_token_latencies) == 1


def test_a_whole_answer():
    reply, _ = one(http('{"choices": [{"text": "Hi", "finish_reason": "stop"}]}'), body={"prompt": "a", "stream": False})
    assert reply.complete and reply.text == "Hi"


@pytest.mark.parametrize(
    ("answer", "status", "error"),
    [
        (http(EVENT.format("Once", "null", "null")), 200, "broke off"),
        (http(EVENT.format("Once", '"length"', "null")), 200, "broke off"),
        (http('data: {"error": {"message": "no"}}\n\n'), 200, "no"),
        (http('{"error": 1}', 429), 429, "error"),
        (http("data: hello\n\n"), 200, "JSONDecodeError"),
        (http("data: {}\n\n"), 200, "choices"),
        (b"", 0, "RemoteProtocolError"),
    ],
)
def test_what_is_no_answer_is_not_complete(answer, status, error):
    reply, _ = one(answer)
    assert not reply.complete and reply.status == status and error in reply.error


def test_a_connection_that_fails_is_tried_again_and_its_time_counts():
    reply, server = one(b"", http(EVENT.format("a", '"stop"', "null") + "data: [DONE]\n\n"), retries=1)
    assert reply.complete and len(server.asked) == 2
    assert reply.metrics.time_to_first_token > 0.1
    reply, server = one(http("no", 500), retries=1)
    assert reply.status == 500 and len(server.asked) == 1, "an answer, if not the one wanted"


def test_an_open_loop_does_not_wait_for_answers():
    server = Scripted(*[http("data: [DONE]\n\n")] * 3)
    replies = asyncio.run(at_times(server.url, [{"prompt": "a"}] * 3, [0.2, 0.0, 0.1], timeout=5))
    sent = [reply.sent - min(r.sent for r in replies) for reply in replies]
    assert sent[1] == 0 and 0.05 < sent[2] < sent[0]


def test_percentiles():
    assert percentiles([1, 2, 3], (50,)) == [2] and str(percentiles([])) == "[nan, nan, nan]"


def test_a_server_that_ends_or_never_answers_is_reported_with_what_it_printed():
    with pytest.raises(ServerFailed, match="ended with status 3:\nno room"):
        ServerProcess([sys.executable, "-c", "import sys; print('no room'); sys.exit(3)"]).__enter__()
    with pytest.raises(ServerFailed, match=r"not ready after 0.3 s:\nhere I am"):
        command = [sys.executable, "-u", "-c", "import time; print('here I am'); time.sleep(60)"]
        ServerProcess(command, timeout=0.3).__enter__()


def test_a_server_runs_within_its_block():
    command = [sys.executable, "-m", "http.server", "{port}", "--bind", "127.0.0.1"]
    with ServerProcess(command, ready="/") as server:
        assert server.process.is_running()
    assert not server.process.is_running()
