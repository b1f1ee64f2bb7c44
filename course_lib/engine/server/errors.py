"""Errors as OpenAI's API says them: a status, and an object with a message, a type, a parameter and a code."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

_TYPES = {
    400: "invalid_request_error", 404: "invalid_request_error", 405: "invalid_request_error",
    408: "invalid_request_error", 413: "invalid_request_error", 429: "rate_limit_error",
}  # fmt: skip


class ApiError(Exception):
    """What a client is told.

    Attributes:
        status: of HTTP.
        message: what was given, what was wanted, what to do.
        param: the parameter that it is about.
        code: a word for programs.
    """

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code

    def as_json(self) -> dict[str, Any]:
        kind = _TYPES.get(self.status, "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self, headers: Mapping[str, str] | None = None) -> JSONResponse:
        headers = dict(headers or {})
        if self.status in (429, 503):
            headers["Retry-After"] = "1"  # who is told to come back is told when
        return JSONResponse(self.as_json(), self.status, headers)


def closing() -> ApiError:
    return ApiError(503, "the server is closing; this request was cancelled", code="closing")


def failed() -> ApiError:
    return ApiError(500, "the engine failed; see the server's log", code="internal_error")
