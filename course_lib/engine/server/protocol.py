"""The requests that clients may send, and what the engine makes of them.

Types and names are checked here; values, by the engine.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    ValidationError,
    field_validator,
    model_validator,
)

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

# Far above what anyone needs; looked for in the engine's thread, after each token.
_MOST_STOPS, _LONGEST_STOP = 16, 256

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]  # takes 1 as well as 1.0, and no text


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")
    include_usage: StrictBool = False


class Sampled(BaseModel):
    """What both kinds of request have."""

    model_config = ConfigDict(extra="forbid")
    model: str | None = None
    max_tokens: StrictInt | None = None
    temperature: Number | None = None
    top_p: Number | None = None
    min_p: Number | None = None
    seed: StrictInt | None = None
    stop: list[str] | None = None
    ignore_eos: StrictBool = False  # vLLM's; for measurements, where answers are to have one length
    n: Annotated[StrictInt, Field(ge=1, le=128)] = 1
    stream: StrictBool = False
    stream_options: StreamOptions | None = None

    @model_validator(mode="before")
    @classmethod
    def _leave_out_what_asks_for_nothing(cls, given: Any) -> Any:
        left_out = {*_ASKS_FOR_NOTHING, *_IGNORED}
        return {name: value for name, value in given.items() if name not in left_out and value is not None}

    @field_validator("stop", mode="before")
    @classmethod
    def _few_stops(cls, stop: Any) -> Any:
        stops = [stop] if isinstance(stop, str) else stop
        if not isinstance(stops, list) or not all(isinstance(text, str) for text in stops):
            raise ValueError("wanted a string or a list of strings")
        if len(stops) > _MOST_STOPS or any(len(text) > _LONGEST_STOP for text in stops):
            raise ValueError(f"wanted at most {_MOST_STOPS} strings of at most {_LONGEST_STOP} characters")
        return [text for text in stops if text or len(stops) > 1]  # OpenAI takes "" for none

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with a count of tokens."""
        return self.stream_options is not None and self.stream_options.include_usage

    def options(self, choice: int, most_tokens: int) -> dict[str, Any]:
        """Arguments of `Engine.make_request` for one of the `n` choices.

        Args:
            most_tokens: where the client does not say.
        """
        given = {"top_p": self.top_p, "min_p": self.min_p, "seed": self.seed}
        options = {name: value for name, value in given.items() if value is not None}
        if choice and self.seed is not None:
            options["seed"] += choice  # or all choices would be the same
        if self.ignore_eos:
            options["stop_tokens"] = ()
        return options | {
            "max_tokens": most_tokens if self.max_tokens is None else self.max_tokens,
            "temperature": 1.0 if self.temperature is None else self.temperature,
            "stop": self.stop or (),
        }


class CompletionRequest(Sampled):
    prompt: str | list

    @field_validator("prompt", mode="before")
    @classmethod
    def _text_or_tokens(cls, prompt: Any) -> Any:
        # By hand: pydantic would tell of each of a million wrong tokens, and take seconds for it.
        if not isinstance(prompt, str) and not _are(prompt, str, int) and not (
            isinstance(prompt, list) and all(_are(tokens, int) for tokens in prompt)
        ):
            raise ValueError("wanted text, token ids, a list of texts or a list of lists of token ids")
        return prompt

    def prompts(self) -> list[str | list[int]]:
        """One or more prompts, each text or token ids."""
        if isinstance(self.prompt, str) or not self.prompt or isinstance(self.prompt[0], int):
            return [self.prompt]
        return list(self.prompt)


def _are(values: Any, *types: type) -> bool:
    """Whether it is a list whose items are all of one of the types (a bool is no int)."""
    return isinstance(values, list) and any(all(type(value) is each for value in values) for each in types)


class TextPart(BaseModel):
    model_config = ConfigDict(extra="forbid")
    type: Literal["text"]
    text: str


class Message(BaseModel):
    # Forbidden are, for example, tool_calls: what is left out of the conversation should not be left out silently.
    model_config = ConfigDict(extra="forbid")
    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[TextPart], Field(fail_fast=True)]
    name: str | None = None

    def as_text(self) -> dict[str, str]:
        text = self.content if isinstance(self.content, str) else "".join(p.text for p in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class ChatRequest(Sampled):
    messages: Annotated[list[Message], Field(min_length=1, fail_fast=True)]
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
    for name, nothing in _ASKS_FOR_NOTHING.items():
        if name in given and not any(given[name] == value for value in nothing):
            raise ApiError(400, f"{name} is not supported by this server; leave it out", name, "unsupported_parameter")
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        param = ".".join(str(part) for part in first["loc"] if not str(part).startswith(("list[", "function-")))
        if first["type"] == "extra_forbidden":
            raise ApiError(400, f"this server does not know {param!r}; leave it out", param, "unknown_parameter") from None
        message = first["msg"].removeprefix("Value error, ")
        raise ApiError(400, f"{param}: {message}" if param else message, param or None) from None
