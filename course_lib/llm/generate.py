"""Text from a model, token by token.

Generation has two phases. **Prefill** reads the prompt, all its tokens at once; **decode** then
feeds each new token back to get the next. With a cache a decode step computes one token; a model
without one (`cache=None`) reads everything again for every token.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import mlx.core as mx

from course_lib.llm.detokenizer import Detokenizer
from course_lib.llm.model import Model
from course_lib.llm.prompt import Prompt, encode_prompt
from course_lib.llm.sampling import Sampler, SamplingParams

# Longer prompts are read in pieces: attention's memory then grows with the prompt, not its square.
PREFILL_STEP = 512


@dataclass(frozen=True)
class Piece:
    """One generated token and what is known so far.

    Attributes:
        text: the text this token completes; empty while a character or word is unfinished.
        token: its id.
        prompt_tokens: length of the prompt.
        generation_tokens: tokens generated so far, this one included.
        prompt_seconds: from the start to the first token.
        generation_seconds: from the first token to this one.
        finish_reason: None while more follows; "stop" after a stop token, whose text is left out;
            "length" when max_tokens or the context is used up.
    """

    text: str
    token: int
    prompt_tokens: int
    generation_tokens: int
    prompt_seconds: float
    generation_seconds: float
    finish_reason: Literal["stop", "length"] | None = None

    @property
    def prompt_tps(self) -> float:
        """Prompt tokens read per second."""
        return self.prompt_tokens / self.prompt_seconds

    @property
    def generation_tps(self) -> float:
        """Tokens decoded per second, the first one (which prefill gives) left out."""
        return (self.generation_tokens - 1) / self.generation_seconds if self.generation_seconds else 0.0


def stream_generate(
    model: Model,
    tokenizer: Any,
    prompt: Prompt,
    *,
    max_tokens: int = 256,
    stop_tokens: Iterable[int] | None = None,
    **sampling: Any,
) -> Iterator[Piece]:
    """Generate, yielding a `Piece` for each token as it is known.

    Args:
        model, tokenizer: as `load` returns them.
        prompt: text, continued as it is; messages `{"role": ..., "content": ...}`, answered
            through the chat template; or token ids.
        max_tokens: most tokens to generate, a stop token included. Fewer if the context fills up.
        stop_tokens: ids that end the text; None for the model's own, () for none.
        **sampling: fields of `SamplingParams`: temperature, top_p, min_p, seed.

    Raises:
        ValueError: at the call, before anything is generated: a prompt that is empty, too long for
            the context or outside the vocabulary; max_tokens below 1; bad sampling parameters.
    """
    if type(max_tokens) is not int or max_tokens < 1:
        raise ValueError(f"max_tokens={max_tokens!r}; wanted an integer, at least 1")
    sampler = Sampler(SamplingParams.from_options(sampling))
    prompt_ids = encode_prompt(tokenizer, prompt, model.config)
    stop = set(tokenizer.eos_token_ids if stop_tokens is None else stop_tokens)
    limit = min(max_tokens, model.config.max_position_embeddings - len(prompt_ids))
    return _pieces(model, tokenizer, prompt_ids, sampler, limit, stop)


def generate(model: Model, tokenizer: Any, prompt: Prompt, **options: Any) -> str:
    """The whole generated text. Arguments and errors are those of `stream_generate`."""
    return "".join(piece.text for piece in stream_generate(model, tokenizer, prompt, **options))


def _pieces(
    model: Model, tokenizer: Any, prompt: list[int], sampler: Sampler, limit: int, stop: set[int]
) -> Iterator[Piece]:
    detokenizer = Detokenizer(tokenizer)
    start = first = time.perf_counter()
    for count, token in enumerate(generate_tokens(model, prompt, sampler, limit), start=1):
        now = time.perf_counter()
        first = now if count == 1 else first
        reason = "stop" if token in stop else "length" if count == limit else None
        text = "" if reason == "stop" else detokenizer.add(token)
        if reason:
            text += detokenizer.finish()
        yield Piece(
            text=text,
            token=token,
            prompt_tokens=len(prompt),
            generation_tokens=count,
            prompt_seconds=first - start,
            generation_seconds=now - first,
            finish_reason=reason,
        )
        if reason:
            return


def generate_tokens(model: Model, prompt: list[int], sampler: Sampler, limit: int) -> Iterator[int]:
    """The token ids after a prompt, `limit` of them, whatever they are."""
    cache = model.make_cache()
    tokens = mx.array([prompt])  # [1, L]: what the model reads next
    while cache is not None and tokens.shape[1] > PREFILL_STEP:
        mx.eval(model(tokens[:, :PREFILL_STEP], cache, positions=-1))
        tokens = tokens[:, PREFILL_STEP:]
    # A GPU computes while Python builds the next step's graph, so there each token is handed over when the
    # next step has begun. On the CPU `async_eval` itself waits for most of the work: it would gain nothing,
    # and every token would come a step late.
    overlap = mx.default_device() == mx.gpu
    waiting = None
    for _ in range(limit):
        logits = model(tokens, cache, positions=-1)[:, -1]  # [1, V]
        token = sampler(logits)  # [1]
        if overlap:
            mx.async_eval(token)
            if waiting is not None:
                yield waiting.item()
            waiting = token
        else:
            yield token.item()
        fresh = token[:, None].astype(tokens.dtype)
        tokens = fresh if cache is not None else mx.concatenate([tokens, fresh], axis=1)
    if waiting is not None:
        yield waiting.item()
