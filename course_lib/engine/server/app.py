"""The ASGI application: routes and limits, and the way of a request from the wire to the engine."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
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
from course_lib.engine.request import Request
from course_lib.engine.server.answers import CHAT, COMPLETION, Answer, Shape
from course_lib.engine.server.delivery import Holding, events, unless_disconnected, whole
from course_lib.engine.server.errors import ApiError, closing, failed
from course_lib.engine.server.gauges import gauges
from course_lib.engine.server.protocol import ChatRequest, CompletionRequest, Sampled, parse

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServerLimits:
    """What one server takes on.

    Attributes:
        max_body_bytes: of one HTTP request; more is refused with 413.
        max_open_requests: that run or wait at the same time; more are refused with 429. Each choice counts.
        body_timeout: seconds for a body to arrive in; later it is refused with 408.
        default_max_tokens: of a completion that does not say; OpenAI's is 16. Chat has none.

    Raises:
        ValueError: a limit that is not above 0.
    """

    max_body_bytes: int = 2**20
    max_open_requests: int = 256
    body_timeout: float = 30
    default_max_tokens: int = 16

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"{name}={value!r}; wanted a number above 0")


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
        Route("/metrics", service.metrics),
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
        self.num_open = 0  # choices that are being answered, from before they are tokens until they are sent
        # A long prompt takes tenths of a second to become tokens, in which the others' tokens go on.
        self._tokenizing = ThreadPoolExecutor(1, "tokenizing")

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        self.engine.start()
        yield
        await self.engine.close()  # what the server gave up waiting for is cancelled
        self._tokenizing.shutdown(wait=False, cancel_futures=True)

    # --- the routes ----------------------------------------------------------------------------------

    async def health(self, http: HttpRequest) -> Response:
        alive = self.engine.is_alive
        return JSONResponse({"status": "ok" if alive else "stopped"}, 200 if alive else 503)

    async def metrics(self, http: HttpRequest) -> Response:
        try:
            text = await self.engine.ask(lambda engine: gauges(engine, self.num_open))
        except EngineClosed:
            raise closing() from None
        return Response(text, media_type="text/plain; version=0.0.4")

    async def models(self, http: HttpRequest) -> Response:
        return JSONResponse({"object": "list", "data": [self._model()]})

    async def model(self, http: HttpRequest) -> Response:
        self._check_model(http.path_params["name"])
        return JSONResponse(self._model())

    async def completions(self, http: HttpRequest) -> Response:
        asked = parse(CompletionRequest, await self._body(http))
        return await self._answer(http, asked, COMPLETION, self.limits.default_max_tokens)

    async def chat_completions(self, http: HttpRequest) -> Response:
        asked = parse(ChatRequest, await self._body(http))
        return await self._answer(http, asked, CHAT, self.engine.engine.config.max_model_len)

    # --- the way of a request ------------------------------------------------------------------------

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

    async def _body(self, http: HttpRequest) -> bytes:
        """The body, of which no more than the limit is ever held."""
        limit = self.limits.max_body_bytes
        announced = http.headers.get("content-length", "")
        body = bytearray()
        try:
            async with asyncio.timeout(self.limits.body_timeout):
                # One that announces too much is not even read.
                if not (announced.isdigit() and int(announced) > limit):
                    async for chunk in http.stream():
                        body += chunk
                        if len(body) > limit:
                            break
                    else:
                        return bytes(body)
        except TimeoutError:
            message = f"the body did not arrive within {self.limits.body_timeout:g} seconds"
            raise ApiError(408, message, code="timeout") from None
        raise ApiError(413, f"the body has more than {limit} bytes", code="too_large")

    @contextlib.contextmanager
    def _places(self, wanted: int) -> Iterator[None]:
        """Places for some choices among those that are open.

        Raises:
            ApiError: 429, no places; 400, never so many.
        """
        most = self.limits.max_open_requests
        if wanted > most:
            raise ApiError(400, f"{wanted} choices are asked for; this server takes {most} at a time", "n")
        if self.num_open + wanted > most:
            raise ApiError(
                429,
                f"{self.num_open} requests are open and {wanted} more are asked for; this server takes {most} at a "
                "time. Try again later",
                code="too_many_requests",
            )
        self.num_open += wanted
        try:
            yield
        finally:
            self.num_open -= wanted

    async def _answer(self, http: HttpRequest, asked: Sampled, shape: Shape, most_tokens: int) -> Response:
        self._check_model(asked.model)
        num_prompts = len(asked.prompts())
        with contextlib.ExitStack() as place:
            place.enter_context(self._places(num_prompts * asked.n))
            requests = await self._requests(asked, most_tokens)
            answer = Answer(shape, self.model_name, requests, num_prompts)
            outputs = self.engine.listen(requests)
            if asked.stream:
                headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
                pieces = events(answer, outputs, asked.wants_usage)
                response = StreamingResponse(pieces, media_type="text/event-stream", headers=headers)
            else:
                response = await unless_disconnected(http, whole(answer, outputs))
            return Holding(response, place.pop_all())

    async def _requests(self, asked: Sampled, most_tokens: int) -> list[Request]:
        """One for each choice: for each prompt, `n`."""
        make = self.engine.engine.make_request

        def made() -> list[Request]:
            requests = []
            for prompt in asked.prompts():
                for choice in range(asked.n):
                    requests.append(make(prompt, **asked.options(choice, most_tokens)))
                    prompt = requests[-1].prompt  # tokens by now
            return requests

        try:
            return await asyncio.get_running_loop().run_in_executor(self._tokenizing, made)
        except EngineClosed:
            raise closing() from None
        except ValueError as error:
            raise ApiError(400, str(error), _parameter(str(error))) from None


def _parameter(message: str) -> str | None:
    """The engine's errors begin with name=value where they are about a parameter."""
    name = message.split("=")[0]
    return name if name.isidentifier() else "prompt" if "prompt" in message else None


async def _tell(http: HttpRequest, error: ApiError) -> Response:
    return error.response()


async def _tell_http(http: HttpRequest, error: HTTPException) -> Response:
    words = {
        404: f"there is no {http.url.path} here; there are /v1/completions, /v1/chat/completions, /v1/models, /health "
        "and /metrics",
        405: f"{http.url.path} does not take {http.method}",
    }
    return ApiError(error.status_code, words.get(error.status_code, str(error.detail))).response(error.headers)


async def _tell_gone(http: HttpRequest, error: ClientDisconnect) -> Response:
    return Response(status_code=499)  # nobody reads it


async def _tell_unexpected(http: HttpRequest, error: Exception) -> Response:
    logger.error("a request failed", exc_info=error)
    return failed().response()
