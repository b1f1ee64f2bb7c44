"""Clients of an OpenAI-compatible server: many at a time, each request timed from outside.

What a client sees is what counts: the time from sending a request to its first token, from each piece of text
to the next, and to the end, with HTTP and everything else in between.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

from course_lib.engine.metrics import RequestMetrics


@dataclass
class Reply:
    """What came of one request. Times are of `time.perf_counter`.

    Attributes:
        sent: when it was sent.
        status: of HTTP; 0 where there was none.
        text: all of it.
        piece_times: when each piece of text came.
        done: when the last byte came, or what went wrong.
        finish_reason: the server's word; None where the answer was cut off.
        num_prompt_tokens, num_tokens: as the server counts them.
        error: what went wrong.
    """

    sent: float
    status: int = 0
    text: str = ""
    piece_times: list[float] = field(default_factory=list)
    done: float = 0.0
    finish_reason: str | None = None
    num_prompt_tokens: int = 0
    num_tokens: int = 0
    error: str | None = None

    @property
    def complete(self) -> bool:
        """Whether it is an answer, with its end."""
        return self.status == 200 and self.error is None and self.finish_reason in ("stop", "length")

    @property
    def metrics(self) -> RequestMetrics:
        """As the engine keeps them for its own requests; a piece of text counts as a token, which it mostly is."""
        return RequestMetrics(self.sent, token_times=self.piece_times, finish_time=self.done)


async def complete(client: httpx.AsyncClient, url: str, body: Mapping[str, Any], retries: int = 0) -> Reply:
    """Send one request to `/v1/completions` and read its answer. Never raises what the network does.

    Args:
        url: the server's, without a path.
        body: the request. Streamed unless it says otherwise.
        retries: how often it is sent again where the connection fails before anything is answered, as OpenAI's
            client does. The time counts from the first attempt.
    """
    reply = await _complete(client, url, body)
    while retries and reply.status == 0:
        retries -= 1
        await asyncio.sleep(0.1)
        sent, reply = reply.sent, await _complete(client, url, body)
        reply.sent = sent
    return reply


async def _complete(client: httpx.AsyncClient, url: str, body: Mapping[str, Any]) -> Reply:
    body = {"stream": True} | dict(body)
    if body["stream"]:
        body["stream_options"] = {"include_usage": True}
    reply = Reply(time.perf_counter())
    try:
        async with client.stream("POST", f"{url}/v1/completions", json=body) as answer:
            reply.status = answer.status_code
            if answer.status_code != 200:
                reply.error = (await answer.aread()).decode(errors="replace")
            elif body["stream"]:
                await _read_events(answer, reply)
            else:
                _take(json.loads(await answer.aread()), reply)
    except (httpx.HTTPError, ValueError, LookupError) as error:  # no answer, or one in another shape
        reply.error = repr(error)
    reply.done = time.perf_counter()
    return reply


async def _read_events(answer: httpx.Response, reply: Reply) -> None:
    ended = False
    async for line in answer.aiter_lines():
        if line == "data: [DONE]":
            ended = True
        elif line.startswith("data: "):
            event = json.loads(line.removeprefix("data: "))
            if "error" in event:
                reply.error = json.dumps(event["error"])
                return
            _take(event, reply)
    if not ended:
        reply.error = "the stream broke off"


def _take(event: dict[str, Any], reply: Reply) -> None:
    """Take up a whole answer, or a piece of one."""
    for choice in event["choices"]:
        if choice["text"]:
            reply.text += choice["text"]
            reply.piece_times.append(time.perf_counter())
        reply.finish_reason = choice["finish_reason"] or reply.finish_reason
    if usage := event.get("usage"):
        reply.num_prompt_tokens, reply.num_tokens = usage["prompt_tokens"], usage["completion_tokens"]


async def at_times(
    url: str,
    bodies: Sequence[Mapping[str, Any]],
    times: Sequence[float],
    *,
    timeout: float,
    on_reply: Callable[[Reply], Any] = lambda reply: None,
) -> list[Reply]:
    """Each request at its time, whether the ones before it are answered or not (an open loop).

    Args:
        times: seconds from now, one for each request.
        timeout: seconds that a client waits for the next byte.
        on_reply: called as each is done.

    Returns:
        Replies, in the order of the requests.
    """
    async with _client(timeout) as client:
        start = time.perf_counter()

        async def one(index: int) -> Reply:
            await asyncio.sleep(start + times[index] - time.perf_counter())
            reply = await complete(client, url, bodies[index])
            on_reply(reply)
            return reply

        return list(await asyncio.gather(*(one(index) for index in range(len(bodies)))))


async def in_turn(
    url: str, bodies_of_clients: Sequence[Sequence[Mapping[str, Any]]], *, timeout: float, retries: int = 0
) -> list[Reply]:
    """Several clients at a time, each of which sends its next request when the one before is answered (a closed loop).

    Args:
        bodies_of_clients: for each client its requests.
        timeout: seconds that a client waits for the next byte.
        retries: as for `complete`.

    Returns:
        Replies, those of a client side by side.
    """
    async with _client(timeout) as client:

        async def one(bodies: Sequence[Mapping[str, Any]]) -> list[Reply]:
            return [await complete(client, url, body, retries) for body in bodies]

        return sum(await asyncio.gather(*(one(bodies) for bodies in bodies_of_clients)), [])


def _client(timeout: float) -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=timeout, limits=httpx.Limits(max_connections=None), trust_env=False)


def run_clients(url: str, bodies: Sequence[Mapping[str, Any]], times: Sequence[float], timeout: float, pipe: Any) -> None:
    """`at_times` in a process of its own, which can be killed: the target of a `multiprocessing.Process`.

    Args:
        pipe: a connection that the replies are sent into.
    """
    pipe.send(asyncio.run(at_times(url, bodies, times, timeout=timeout)))


def percentiles(values: Sequence[float], at: Sequence[float] = (50, 90, 99)) -> list[float]:
    """Percentiles of some values; NaN where there are none."""
    return np.percentile(values, at).tolist() if len(values) else [float("nan")] * len(at)
