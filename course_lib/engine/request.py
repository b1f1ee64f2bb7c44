"""One request: what is asked, and how far it has come."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from course_lib.engine.metrics import RequestMetrics
from course_lib.engine.text_stream import TextStream
from course_lib.llm.sampling import Sampler, SamplingParams

FinishReason = Literal["stop", "length", "cancelled", "error"]


@dataclass(frozen=True)
class RequestOutput:
    """What a step brought for a request: a token, or its end.

    Attributes:
        request: whose it is.
        text: the text that became certain; often none.
        token: the new token's id; None where the request ended without one.
        finish_reason: None while more follows. "stop" after a stop token or a stop string, neither of
            which is part of the text; "length" when max_tokens or the context is used up; "cancelled";
            "error" (see `request.error`).
    """

    request: "Request"
    text: str
    token: int | None
    finish_reason: FinishReason | None


@dataclass(eq=False)
class Request:
    """Made by `Engine.add`, which checks what is asked. Read it at any time; the engine alone writes.

    Attributes:
        id: its number in its engine.
        prompt: token ids.
        max_tokens: most tokens to generate, a stop token included.
        sampling: how tokens are chosen.
        stop_tokens: ids that end it.
        stream: its text.
        on_output: called with each `RequestOutput`, in the engine's thread.
        metrics: when things happened to it.
        generated: ids of the tokens so far; a stop token is not among them.
        num_computed_tokens: tokens of prompt and generated that are in the KV cache.
        finish_reason: None until it ends.
        error: what went wrong, where finish_reason is "error".
        make_sampler: makes what chooses its tokens.
    """

    id: int
    prompt: list[int]
    max_tokens: int
    sampling: SamplingParams
    stop_tokens: frozenset[int]
    stream: TextStream
    metrics: RequestMetrics
    on_output: Callable[[RequestOutput], Any] | None = None
    generated: list[int] = field(default_factory=list)
    num_computed_tokens: int = 0
    finish_reason: FinishReason | None = None
    error: Exception | None = None
    make_sampler: Callable[[SamplingParams], Sampler] = Sampler
    _sampler: Sampler | None = None

    @property
    def text(self) -> str:
        """What it has said so far."""
        return self.stream.text

    @property
    def finished(self) -> bool:
        return self.finish_reason is not None

    @property
    def num_tokens(self) -> int:
        """Tokens of prompt and answer so far."""
        return len(self.prompt) + len(self.generated)

    @property
    def num_new_tokens(self) -> int:
        """Tokens that are not in the KV cache yet: the prompt at first, then one."""
        return self.num_tokens - self.num_computed_tokens

    @property
    def sampler(self) -> Sampler:
        # Made by the thread that runs the engine: MLX evaluates an array only in the thread that made it.
        if self._sampler is None:
            self._sampler = self.make_sampler(self.sampling)
        return self._sampler

    def next_tokens(self, count: int) -> Sequence[int]:
        """The first `count` of its new tokens."""
        start = self.num_computed_tokens - len(self.prompt)
        if start >= 0:
            return self.generated[start : start + count]
        return (self.prompt[self.num_computed_tokens :] + self.generated)[:count]

    def take(self, token: int) -> RequestOutput:
        """A token was chosen: take it up, and see whether it is the last."""
        text, reason = "", None
        if token in self.stop_tokens:
            reason = "stop"
        else:
            self.generated.append(token)
            text = self.stream.add(token)
            if self.stream.stopped:
                reason = "stop"
            elif len(self.generated) >= self.max_tokens:
                reason = "length"
        if reason:
            text += self.stream.finish()
            if reason == "length" and self.stream.stopped:
                reason = "stop"  # the last characters completed a stop string
        return RequestOutput(self, text, token, reason)
