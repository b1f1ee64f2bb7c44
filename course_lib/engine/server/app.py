"""The ASGI application: routes, limits, and the way of a request from the wire to the engine and back."""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from course_lib.engine.async_engine import AsyncEngine
from course_lib.engine.engine import Engine, EngineClosed
from course_lib.engine.request import Request, RequestOutput
from course_lib.engine.server.answers import CHAT, COMPLETION, Answer, Shape
from course_lib.engine.server.errors import ApiError
from course_lib.engine.server.protocol import ChatRequest, CompletionRequest, Sampled, parse

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServerLimits:
    """What one server takes on.

    Attributes:
        max_body_bytes: of one HTTP request; more is refused with 413.
        max_open_requests: that run or wait at the same time; more are refused with 429. Each choice counts.
        default_max_tokens: of a completion that does not say; OpenAI's is 16. Chat has none.
    """

    max_body_bytes: int = 2**20
    max_open_requests: int = 256
    default_max_tokens: int = 16


def make_app(engine: Engine, model_name: str, limits: ServerLimits | None = None) -> Starlette:
    """The application that serves an engine. From here on the engine is its own.

    Args:
        model_name: as clients name it.

    Returns:
        The application; `app.state.engine` is the `AsyncEngine` behind it.
    """
    service = Service(AsyncEngine(engine), model_name, limits or ServerLimits())
    routes = [
        Route("/health", service.health),
        Route("/v1/models", service.models),
        Route("/v1/models/{name:path}", service.model),
        Route("/v1/completions", service.completions, methods=["POST"]),
        Route("/v1/chat/completions", service.chat_completions, methods=["POST"]),
    ]
    handlers = {ApiError: _tell, ClientDisconnect: _tell_gone, HTTPException: _tell_http, Exception: _tell_unexpected}
    app = Starlette(routes=routes, exception_handlers=handlers, lifespan=service.lifespan)
    app.state.engine = service.engine
    return app


class Service:
    """The routes."""

    def __init__(self, engine: AsyncEngine, model_name: str, limits: ServerLimits) -> None:
        self.engine, self.model_name, self.limits = engine, model_name, limits
        self.created = int(time.time())

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        self.engine.start()
        yield
        await self.engine.close()  # what the server gave up waiting for is cancelled

    async def health(self, http: HttpRequest) -> Response:
        alive = self.engine.is_alive
        return JSONResponse({"status": "ok" if alive else "stopped"}, 200 if alive else 503)

    async def models(self, http: HttpRequest) -> Response:
        return JSONResponse({"object": "list", "data": [self._model()]})

    async def model(self, http: HttpRequest) -> Response:
        self._check_model(http.path_params["name"])
        return JSONResponse(self._model())

    def _model(self) -> dict[str, Any]:
        longest = self.engine.engine.config.max_model_len
        return {
            "id": self.model_name, "object": "model", "created": self.created, "owned_by": "course",
            "max_model_len": longest,
        }  # fmt: skip

    def _check_model(self, name: str | None) -> None:
        if name not in (None, self.model_name):
            message = f"the model {name!r} does not exist here; this server has {self.model_name!r}"
            raise ApiError(404, message, "model", "model_not_found")

    async def completions(self, http: HttpRequest) -> Response:
        asked = parse(CompletionRequest, await self._body(http))
        return await self._answer(http, asked, COMPLETION, self.limits.default_max_tokens)

    async def chat_completions(self, http: HttpRequest) -> Response:
        asked = parse(ChatRequest, await self._body(http))
        longest = self.engine.engine.config.max_model_len
        return await self._answer(http, asked, CHAT, longest)

    async def _body(self, http: HttpRequest) -> bytes:
        """The body, of which no more than the limit is ever held."""
        body = bytearray()
        async for chunk in http.stream():
            body += chunk
            if len(body) > self.limits.max_body_bytes:
                raise ApiError(413, f"the body has more than {self.limits.max_body_bytes} bytes", code="too_large")
        return bytes(body)

    async def _answer(self, http: HttpRequest, asked: Sampled, shape: Shape, max_tokens: int) -> Response:
        self._check_model(asked.model)
        prompts = asked.prompts()
        wanted = len(prompts) * asked.n
        if self.engine.num_open + wanted > self.limits.max_open_requests:
            raise ApiError(
                429,
                f"{self.engine.num_open} requests are open and {wanted} are asked for; this server takes "
                f"{self.limits.max_open_requests} at a time. Try again later",
                code="too_many_requests",
            )
        try:
            streams = [
                self.engine.generate(prompt, **asked.options(choice, max_tokens))
                for prompt in prompts
                for choice in range(asked.n)
            ]
        except EngineClosed as error:
            raise ApiError(503, str(error), code="closing") from None
        except ValueError as error:
            raise ApiError(400, str(error), _parameter(str(error))) from None
        answer = Answer(shape, self.model_name)
        outputs = merged(streams)
        if asked.stream:
            wants_usage = asked.stream_options is not None and asked.stream_options.include_usage
            events = _events(answer, outputs, wanted, len(prompts), wants_usage)
            headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
            return StreamingResponse(events, media_type="text/event-stream", headers=headers)
        return await unless_disconnected(http, _whole(answer, outputs, wanted, len(prompts)))


async def merged(streams: list[AsyncIterator[RequestOutput]]) -> AsyncIterator[tuple[int, RequestOutput]]:
    """(index, output) of several requests as they come. Closing it, or an error of one, cancels them all."""
    queue: asyncio.Queue = asyncio.Queue()

    async def pump(index: int, stream: AsyncIterator[RequestOutput]) -> None:
        try:
            async with contextlib.aclosing(stream):
                async for output in stream:
                    queue.put_nowait((index, output))
        except Exception as error:
            queue.put_nowait((index, error))

    tasks = [asyncio.create_task(pump(index, stream)) for index, stream in enumerate(streams)]
    left = len(streams)
    try:
        while left:
            index, output = await queue.get()
            if isinstance(output, Exception):
                raise output
            yield index, output
            left -= output.finish_reason is not None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _whole(
    answer: Answer, outputs: AsyncIterator[tuple[int, RequestOutput]], wanted: int, num_prompts: int
) -> Response:
    requests = await _collect(outputs, wanted)
    return JSONResponse(answer.whole(requests, num_prompts))


async def _collect(outputs: AsyncIterator[tuple[int, RequestOutput]], wanted: int) -> list[Request]:
    requests: list[Request | None] = [None] * wanted
    async with contextlib.aclosing(outputs):
        async for index, output in outputs:
            requests[index] = output.request
    if any(request.finish_reason == "cancelled" for request in requests):
        raise ApiError(503, "the server is closing; this request was cancelled", code="closing")
    return requests


async def _events(
    answer: Answer,
    outputs: AsyncIterator[tuple[int, RequestOutput]],
    wanted: int,
    num_prompts: int,
    wants_usage: bool,
) -> AsyncIterator[str]:
    """The server-sent events of a stream (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""
    requests: list[Request | None] = [None] * wanted
    try:
        async with contextlib.aclosing(outputs):
            async for index, output in outputs:
                requests[index] = output.request
                reason = output.finish_reason
                if reason == "cancelled":
                    raise ApiError(503, "the server is closing; this request was cancelled", code="closing")
                if output.text or reason:
                    yield _event(answer.piece(index, output, is_last=reason is not None))
        if wants_usage:
            yield _event(answer.usage_piece(requests, num_prompts))
        yield "data: [DONE]\n\n"
    except Exception as error:  # the status is sent: what went wrong can only be an event
        if not isinstance(error, ApiError):
            logger.error("a stream broke off", exc_info=error)
            error = ApiError(500, "the engine failed; see the server's log")
        yield _event(error.as_json())


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"


async def unless_disconnected(http: HttpRequest, work: Any) -> Response:
    """Do the work, and give it up when the client has gone."""
    task = asyncio.create_task(work)

    async def gone() -> None:
        while not await http.is_disconnected():
            await asyncio.sleep(0.1)

    watcher = asyncio.create_task(gone())
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else Response(status_code=499)  # nobody reads it
    finally:
        for each in (task, watcher):
            each.cancel()
        await asyncio.gather(task, watcher, return_exceptions=True)


def _parameter(message: str) -> str | None:
    """The engine's errors begin with name=value where they are about a parameter."""
    name = message.split("=")[0]
    return name if name.isidentifier() else "prompt" if "prompt" in message else None


async def _tell(http: HttpRequest, error: ApiError) -> Response:
    return error.response()


async def _tell_http(http: HttpRequest, error: HTTPException) -> Response:
    words = {
        404: f"there is no {http.url.path} here; there are /v1/completions, /v1/chat/completions, /v1/models and /health",
        405: f"{http.url.path} does not take {http.method}",
    }
    return ApiError(error.status_code, words.get(error.status_code, str(error.detail))).response()


async def _tell_gone(http: HttpRequest, error: ClientDisconnect) -> Response:
    return Response(status_code=499)


async def _tell_unexpected(http: HttpRequest, error: Exception) -> Response:
    logger.error("a request failed", exc_info=error)
    return ApiError(500, "the engine failed; see the server's log").response()
