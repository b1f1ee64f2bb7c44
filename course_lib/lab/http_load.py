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


@dataclass
class Reply:
    """What came of one request. Times are of `time.perf_counter`.

    Attributes:
        sent: when it was sent.
        status: of HTTP; 0 where there was none, or the client went away first.
        text: all of it.
        piece_times: when each piece of text came.
        done: when the last byte came, or what went wrong.
        finish_reason: the server's word; None where the answer was cut off.
        num_prompt_tokens, num_tokens: as the server counts them.
        error: what went wrong.
        left: the client went away on purpose.
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
    left: bool = False

    @property
    def complete(self) -> bool:
        """Whether it is an answer, with its end."""
        return self.status == 200 and self.error is None and self.finish_reason in ("stop", "length")

    @property
    def time_to_first_token(self) -> float | None:
        """Seconds to the first piece of text."""
        return self.piece_times[0] - self.sent if self.piece_times else None

    @property
    def inter_token_latencies(self) -> list[float]:
        """Seconds from each piece of text to the next. A piece may be several tokens."""
        return np.diff(self.piece_times).tolist()

    @property
    def end_to_end_latency(self) -> float:
        return self.done - self.sent


async def complete(
    client: httpx.AsyncClient, url: str, body: Mapping[str, Any], leaves: Callable[[Reply], bool] | None = None
) -> Reply:
    """Send one request to `/v1/completions` and read its answer as a stream. Never raises what the network does.

    Args:
        url: the server's, without a path.
        body: the request; `stream` and a count of tokens are asked for besides.
        leaves: asked after each piece: does the client go away now?
    """
    body = dict(body) | {"stream": True, "stream_options": {"include_usage": True}}
    reply = Reply(time.perf_counter())
    try:
        async with client.stream("POST", f"{url}/v1/completions", json=body) as answer:
            reply.status = answer.status_code
            if answer.status_code != 200:
                reply.error = (await answer.aread()).decode(errors="replace")
            else:
                await _read(answer, reply, leaves)
    except httpx.HTTPError as error:
        reply.error = repr(error)
    reply.done = time.perf_counter()
    return reply


async def _read(answer: httpx.Response, reply: Reply, leaves: Callable[[Reply], bool] | None) -> None:
    async for line in answer.aiter_lines():
        if not line.startswith("data: ") or line == "data: [DONE]":
            continue
        event = json.loads(line.removeprefix("data: "))
        if "error" in event:
            reply.error = json.dumps(event["error"])
            return
        for choice in event["choices"]:
            if choice["text"]:
                reply.text += choice["text"]
                reply.piece_times.append(time.perf_counter())
            reply.finish_reason = choice["finish_reason"] or reply.finish_reason
        if usage := event.get("usage"):
            reply.num_prompt_tokens, reply.num_tokens = usage["prompt_tokens"], usage["completion_tokens"]
        if leaves and leaves(reply):
            reply.left = True
            return


async def at_times(
    url: str,
    bodies: Sequence[Mapping[str, Any]],
    times: Sequence[float],
    *,
    timeout: float,
    leaves: Mapping[int, Callable[[Reply], bool]] | None = None,
    on_reply: Callable[[Reply], Any] = lambda reply: None,
) -> list[Reply]:
    """Each request at its time, whether the ones before it are answered or not (an open loop).

    Args:
        times: seconds from now, one for each request.
        timeout: seconds that a client waits for the next byte.
        leaves: index of a request -> when its client goes away, as for `complete`.
        on_reply: called as each is done.

    Returns:
        Replies, in the order of the requests.
    """
    async with _client(timeout) as client:
        start = time.perf_counter()

        async def one(index: int) -> Reply:
            await asyncio.sleep(start + times[index] - time.perf_counter())
            reply = await complete(client, url, bodies[index], (leaves or {}).get(index))
            on_reply(reply)
            return reply

        return list(await asyncio.gather(*(one(index) for index in range(len(bodies)))))


async def in_turn(
    url: str, bodies_of_clients: Sequence[Sequence[Mapping[str, Any]]], *, timeout: float
) -> list[Reply]:
    """Several clients at a time, each of which sends its next request when the one before is answered (a closed loop).

    Args:
        bodies_of_clients: for each client its requests.

    Returns:
        Replies, those of a client side by side.
    """
    async with _client(timeout) as client:

        async def one(bodies: Sequence[Mapping[str, Any]]) -> list[Reply]:
            return [await complete(client, url, body) for body in bodies]

        return sum(await asyncio.gather(*(one(bodies) for bodies in bodies_of_clients)), [])


def _client(timeout: float) -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=timeout, limits=httpx.Limits(max_connections=None), trust_env=False)


def percentiles(values: Sequence[float], at: Sequence[float] = (50, 90, 99)) -> list[float]:
    """Percentiles of some values; NaN where there are none."""
    return np.percentile(values, at).tolist() if len(values) else [float("nan")] * len(at)
