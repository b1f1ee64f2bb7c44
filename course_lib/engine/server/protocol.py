"""The requests that clients may send, and what the engine makes of them.

Types and names are checked here; values, by the engine.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, ValidationError, model_validator

from course_lib.engine.server.errors import ApiError

# What OpenAI's API has and this server does not do. Sent with a value that asks for nothing, it is accepted.
_ASKS_FOR_NOTHING = {
    "best_of": (None, 1), "echo": (None, False), "frequency_penalty": (None, 0), "logit_bias": (None, {}),
    "logprobs": (None, False), "top_logprobs": (None, 0), "presence_penalty": (None, 0), "suffix": (None, ""),
    "tools": (None, []), "tool_choice": (None, "none", "auto"), "response_format": (None, {"type": "text"}),
    "parallel_tool_calls": (None, True, False), "modalities": (None, ["text"]),
}  # fmt: skip
# What says nothing about the answer.
_IGNORED = ("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key")

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")
    include_usage: StrictBool = False


class Sampled(BaseModel):
    """What both kinds of request have."""

    model_config = ConfigDict(extra="forbid")
    model: str | None = None
    max_tokens: StrictInt | None = None
    temperature: Number | StrictInt | None = None
    top_p: Number | StrictInt | None = None
    min_p: Number | StrictInt | None = None
    seed: StrictInt | None = None
    stop: str | list[str] | None = None
    n: Annotated[StrictInt, Field(ge=1, le=128)] = 1
    stream: StrictBool = False
    stream_options: StreamOptions | None = None

    @model_validator(mode="before")
    @classmethod
    def _leave_out_what_asks_for_nothing(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        for name, nothing in _ASKS_FOR_NOTHING.items():
            if name in given and not any(given[name] == value for value in nothing):
                raise ValueError(f"{name} is not supported by this server; leave it out")
        left_out = {*_ASKS_FOR_NOTHING, *_IGNORED}
        return {name: value for name, value in given.items() if name not in left_out and value is not None}

    def options(self, choice: int, default_max_tokens: int | None) -> dict[str, Any]:
        """Arguments of `Engine.make_request` for one of the `n` choices."""
        max_tokens = self.max_tokens or default_max_tokens if self.max_tokens is None else self.max_tokens
        options = {
            "temperature": 1.0 if self.temperature is None else self.temperature,
            "stop": self.stop or (),
        }
        for name, value in (("top_p", self.top_p), ("min_p", self.min_p), ("max_tokens", max_tokens)):
            if value is not None:
                options[name] = value
        if self.seed is not None:
            options["seed"] = self.seed + choice  # or all choices would be the same
        return options


class CompletionRequest(Sampled):
    prompt: str | list[StrictInt] | list[str] | list[list[StrictInt]]

    def prompts(self) -> list[str | list[int]]:
        """One or more prompts, each text or token ids."""
        if isinstance(self.prompt, str) or not self.prompt or isinstance(self.prompt[0], int):
            return [self.prompt]
        return list(self.prompt)


class TextPart(BaseModel):
    type: Literal["text"]
    text: str


class Message(BaseModel):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]
    name: str | None = None

    def as_text(self) -> dict[str, str]:
        text = self.content if isinstance(self.content, str) else "".join(p.text for p in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class ChatRequest(Sampled):
    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: StrictInt | None = None

    @model_validator(mode="after")
    def _one_limit(self) -> "ChatRequest":
        if self.max_completion_tokens is not None:
            self.max_tokens = self.max_completion_tokens
        return self

    def prompts(self) -> list[list[dict[str, str]]]:
        """The conversation, as the chat template takes it."""
        return [[message.as_text() for message in self.messages]]


def parse(kind: type[Sampled], body: bytes) -> Any:
    """The request in an HTTP body.

    Raises:
        ApiError: 400, with the parameter that is wrong.
    """
    try:
        given = json.loads(body)
    except ValueError as error:  # not JSON, or not UTF-8
        raise ApiError(400, f"the body is not JSON: {error}") from None
    except RecursionError:
        raise ApiError(400, "the body is nested too deeply") from None
    if not isinstance(given, dict):
        raise ApiError(400, f"the body is a JSON {type(given).__name__}; wanted an object")
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        param = ".".join(str(part) for part in first["loc"] if not str(part).startswith(("list[", "function-")))
        message = first["msg"].removeprefix("Value error, ")
        raise ApiError(400, f"{param}: {message}" if param else message, param or None) from None
