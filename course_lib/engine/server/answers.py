"""What clients are sent: whole answers and pieces, in the shapes of OpenAI's API."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from course_lib.engine.request import Request, RequestOutput


@dataclass(frozen=True)
class Shape:
    """The words in which completions and chat completions differ."""

    prefix: str
    whole: str
    piece: str
    is_chat: bool

    def choice(self, index: int, text: str, reason: str | None) -> dict[str, Any]:
        """One whole choice."""
        said = {"message": {"role": "assistant", "content": text}} if self.is_chat else {"text": text}
        return {"index": index, **said, "logprobs": None, "finish_reason": reason}

    def delta(self, index: int, text: str, reason: str | None, is_first: bool) -> dict[str, Any]:
        """One piece of a choice."""
        if not self.is_chat:
            return {"index": index, "text": text, "logprobs": None, "finish_reason": reason}
        delta = {"role": "assistant"} if is_first else {}
        if text or is_first:
            delta["content"] = text
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}


COMPLETION = Shape("cmpl", "text_completion", "text_completion", is_chat=False)
CHAT = Shape("chatcmpl", "chat.completion", "chat.completion.chunk", is_chat=True)


class Answer:
    """The answer to one HTTP request, which may ask for several choices.

    Args:
        model: its name.
        requests: one for each choice, those of a prompt side by side.
        num_prompts: how many prompts they answer.
    """

    def __init__(self, shape: Shape, model: str, requests: Sequence[Request], num_prompts: int) -> None:
        self._shape, self._requests, self._num_prompts = shape, requests, num_prompts
        self._identity = {"id": f"{shape.prefix}-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}
        self._index = {request.id: index for index, request in enumerate(requests)}
        self._begun: set[int] = set()

    def whole(self) -> dict[str, Any]:
        choices = [self._shape.choice(i, r.text, r.finish_reason) for i, r in enumerate(self._requests)]
        return self._envelope(self._shape.whole, choices) | {"usage": self._usage()}

    def piece(self, output: RequestOutput) -> dict[str, Any]:
        index = self._index[output.request.id]
        delta = self._shape.delta(index, output.text, output.finish_reason, is_first=index not in self._begun)
        self._begun.add(index)
        return self._envelope(self._shape.piece, [delta])

    def usage_piece(self) -> dict[str, Any]:
        """The last piece, after those of all choices."""
        return self._envelope(self._shape.piece, []) | {"usage": self._usage()}

    def _envelope(self, kind: str, choices: list[dict]) -> dict[str, Any]:
        return self._identity | {"object": kind, "choices": choices}

    def _usage(self) -> dict[str, Any]:
        """Tokens read and generated; a prompt that several choices answer counts once."""
        once = self._requests[:: len(self._requests) // self._num_prompts]
        prompt = sum(len(request.prompt) for request in once)
        generated = sum(len(request.metrics.token_times) for request in self._requests)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": generated,
            "total_tokens": prompt + generated,
            "prompt_tokens_details": {"cached_tokens": sum(r.metrics.num_cached_tokens for r in once)},
        }
