"""What clients are sent: whole answers and pieces, in the shapes of OpenAI's API."""

import time
import uuid
from dataclasses import dataclass, field
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


@dataclass
class Answer:
    """The answer to one HTTP request, which may ask for several choices."""

    shape: Shape
    model: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))
    _begun: set[int] = field(default_factory=set)

    def whole(self, requests: list[Request], num_prompts: int) -> dict[str, Any]:
        choices = [self.shape.choice(i, r.text, r.finish_reason) for i, r in enumerate(requests)]
        return self._envelope(self.shape.whole, choices) | {"usage": usage(requests, num_prompts)}

    def piece(self, index: int, output: RequestOutput, is_last: bool) -> dict[str, Any]:
        is_first = index not in self._begun
        self._begun.add(index)
        reason = output.finish_reason if is_last else None
        return self._envelope(self.shape.piece, [self.shape.delta(index, output.text, reason, is_first)])

    def usage_piece(self, requests: list[Request], num_prompts: int) -> dict[str, Any]:
        return self._envelope(self.shape.piece, []) | {"usage": usage(requests, num_prompts)}

    def _envelope(self, kind: str, choices: list[dict]) -> dict[str, Any]:
        identity = f"{self.shape.prefix}-{self.id}"
        return {"id": identity, "object": kind, "created": self.created, "model": self.model, "choices": choices}


def usage(requests: list[Request], num_prompts: int) -> dict[str, Any]:
    """Tokens read and generated; a prompt that several choices answer counts once."""
    once = requests[:: len(requests) // num_prompts]
    prompt = sum(len(request.prompt) for request in once)
    generated = sum(len(request.metrics.token_times) for request in requests)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": generated,
        "total_tokens": prompt + generated,
        "prompt_tokens_details": {"cached_tokens": sum(r.metrics.num_cached_tokens for r in once)},
    }
