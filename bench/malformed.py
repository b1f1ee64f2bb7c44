"""Requests that are none: what a server must refuse with a 4xx, and be none the worse for.

Each is the bytes that go over the wire, or the parts of an HTTP request.
"""

import json
import re
import socket
from urllib.parse import urlsplit

import httpx

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"


def _post(body: bytes | dict, path: str = COMPLETIONS) -> tuple[str, str, bytes]:
    return "POST", path, body if isinstance(body, bytes) else json.dumps(body).encode()


def _completion(**options) -> tuple[str, str, bytes]:
    return _post({"prompt": "Once upon a time", "max_tokens": 4} | options)


def _chat(*messages) -> tuple[str, str, bytes]:
    return _post({"messages": messages, "max_tokens": 4}, CHAT)


MALFORMED: dict[str, bytes | tuple[str, str, bytes]] = {
    "no HTTP": b"\x16\x03\x01 good morning\r\n\r\n",
    "a negative length": b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    "a header without an end": b"GET /health HTTP/1.1\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    "another path": ("GET", "/v1/engines", b""),
    "another method": ("GET", COMPLETIONS, b""),
    "nothing": _post(b""),
    "half of an object": _post(b'{"prompt": "a"'),
    "not UTF-8": _post(b'{"prompt": "\xff\xfe"}'),
    "a list": _post(b"[]"),
    "deep nesting": _post(b'{"prompt": ' + b"[" * 100_000),
    "too much": _post(b'{"prompt": "' + b"x" * 2_000_000 + b'"}'),
    "no prompt": _post({}),
    "an empty prompt": _completion(prompt=""),
    "a prompt of mixed types": _completion(prompt=[1, "a"] * 1000),
    "a token that is none": _completion(prompt=[10**9]),
    "a prompt beyond the context": _completion(prompt=[5] * 9000),
    "a prompt that is a number": _completion(prompt=5),
    "an unknown option": _completion(temprature=1),
    "an unsupported option": _completion(logprobs=5),
    "another model": _completion(model="gpt-4"),
    "no tokens": _completion(max_tokens=0),
    "half a token": _completion(max_tokens=1.5),
    "many tokens, as text": _completion(max_tokens="many"),
    "a negative temperature": _completion(temperature=-1),
    "a temperature that is no number": _post(b'{"prompt": "a", "temperature": NaN}'),
    "an endless temperature": _post(b'{"prompt": "a", "temperature": 1e999}'),
    "a probability above 1": _completion(top_p=1.1),
    "a large seed": _completion(seed=2**63),
    "no choices": _completion(n=0),
    "a hundred thousand choices": _completion(n=100_000),
    "a prompt a byte": _completion(prompt=["a"] * 100_000),
    "an empty stop string": _completion(stop=["a", ""]),
    "a thousand stop strings": _completion(stop=[str(i) for i in range(1000)]),
    "a stop string that is a number": _completion(stop=5),
    "a stream that is text": _completion(stream="yes"),
    "no messages": _chat(),
    "a message without a role": _chat({"content": "hi"}),
    "a message of a robot": _chat({"role": "robot", "content": "hi"}),
    "a picture": _chat({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}),
    "messages that are text": _post({"messages": "hi"}, CHAT),
}  # fmt: skip


def send(url: str, bad: bytes | tuple[str, str, bytes]) -> tuple[int, bool]:
    """Send one.

    Returns:
        The status, 0 where there was none; and whether the refusal says why, in the shape of OpenAI's errors. (What
        is no HTTP gets no JSON either, and need not.)
    """
    if isinstance(bad, bytes):
        return _send_bytes(url, bad), True
    method, path, body = bad
    try:
        answer = httpx.request(method, url + path, content=body, timeout=60, trust_env=False)
    except httpx.HTTPError:
        return 0, False
    try:
        return answer.status_code, isinstance(answer.json()["error"]["message"], str)
    except (ValueError, LookupError, TypeError):
        return answer.status_code, False


def _send_bytes(url: str, data: bytes) -> int:
    where = urlsplit(url)
    with socket.create_connection((where.hostname, where.port), timeout=60) as connection:
        connection.sendall(data)
        status = re.match(rb"HTTP/1\.1 (\d{3}) ", connection.recv(1000))
    return int(status[1]) if status else 0
