"""From the engine's outputs to what goes over the wire: one JSON object, or server-sent events."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from course_lib.engine.request import RequestOutput
from course_lib.engine.server.answers import Answer
from course_lib.engine.server.errors import ApiError, closing, failed

logger = logging.getLogger(__name__)


async def whole(answer: Answer, outputs: AsyncIterator[RequestOutput]) -> Response:
    """Wait for all of it.

    Raises:
        ApiError: 503, the server closed before it was done.
        Exception: what ended a request.
    """
    async with contextlib.aclosing(outputs):
        async for output in outputs:
            _check_open(output)
    return JSONResponse(answer.whole())


async def events(answer: Answer, outputs: AsyncIterator[RequestOutput], wants_usage: bool) -> AsyncIterator[str]:
    """Piece by piece (https://html.spec.whatwg.org/multipage/server-sent-events.html).

    Nothing is raised, since the status is sent by then: what goes wrong is an event, too, and the last one.
    """
    try:
        async with contextlib.aclosing(outputs):
            async for output in outputs:
                _check_open(output)
                if output.text or output.finish_reason:
                    yield _event(answer.piece(output))
        if wants_usage:
            yield _event(answer.usage_piece())
        yield "data: [DONE]\n\n"
    except Exception as error:
        if not isinstance(error, ApiError):
            logger.error("a stream broke off", exc_info=error)
            error = failed()
        yield _event(error.as_json())


def _check_open(output: RequestOutput) -> None:
    # A request whose client has gone is cancelled as well, but then nobody is here to read its outputs.
    if output.finish_reason == "cancelled":
        raise closing()


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"


async def unless_disconnected(http: HttpRequest, work: Awaitable[Response]) -> Response:
    """Do the work, and give it up when the client has gone. (A streaming response does so by itself.)"""

    async def gone() -> None:
        while (await http.receive())["type"] != "http.disconnect":
            pass

    task, watcher = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else Response(status_code=499)  # nobody reads it
    finally:
        for each in (task, watcher):
            each.cancel()
        await asyncio.gather(task, watcher, return_exceptions=True)


class Holding:
    """A response that holds something until it is sent, or cannot be any more.

    Args:
        held: closed then.
    """

    def __init__(self, response: Response, held: contextlib.ExitStack) -> None:
        self._response, self._held = response, held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            await self._response(scope, receive, send)
