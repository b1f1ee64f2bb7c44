"""From what a user gives to token ids: plain text, a conversation, or ids."""

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import mlx.core as mx

from course_lib.llm.config import ModelConfig

Prompt = str | Sequence[Mapping[str, str]] | Sequence[int] | mx.array


def encode_prompt(tokenizer: Any, prompt: Prompt, config: ModelConfig) -> list[int]:
    """The prompt as token ids, checked against the model.

    Args:
        tokenizer: as `load` returns it.
        prompt: text, taken as it is; or messages `{"role": ..., "content": ...}`, put into the
            model's chat template with the assistant's turn begun; or token ids.
        config: the model's.

    Raises:
        ValueError: an empty prompt, one that leaves no room in the context, an id outside the
            vocabulary, messages without role or content, or a tokenizer without a chat template.
    """
    if isinstance(prompt, mx.array):
        prompt = prompt.tolist()
    if not isinstance(prompt, Sequence):
        raise ValueError(f"the prompt is {prompt!r}; wanted text, a list of messages or of token ids")
    if isinstance(prompt, str):
        # A text that already begins with the begin-of-sequence token must not get a second one.
        begun = tokenizer.bos_token is not None and prompt.startswith(tokenizer.bos_token)
        tokens = tokenizer.encode(prompt, add_special_tokens=not begun)
        tokens = tokens if prompt else []
    elif prompt and all(isinstance(item, Mapping) for item in prompt):
        tokens = _from_messages(tokenizer, prompt)
    else:
        tokens = [int(token) if isinstance(token, Integral) else token for token in prompt]
    check_tokens(tokens, config)
    return tokens


def check_tokens(tokens: list[int], config: ModelConfig) -> None:
    """Raises ValueError unless the model can continue these token ids."""
    if not tokens:
        raise ValueError("the prompt is empty; give at least one token")
    for index, token in enumerate(tokens):
        if type(token) is not int or not 0 <= token < config.vocab_size:
            raise ValueError(
                f"token {index} of the prompt is {token!r}; "
                f"the vocabulary has the ids 0 to {config.vocab_size - 1}"
            )
    if len(tokens) >= config.max_position_embeddings:
        raise ValueError(
            f"the prompt has {len(tokens)} tokens, the context {config.max_position_embeddings}, "
            "and the answer needs room too; shorten the prompt"
        )


def _from_messages(tokenizer: Any, messages: Sequence[Mapping[str, str]]) -> list[int]:
    for index, message in enumerate(messages):
        if missing := [key for key in ("role", "content") if not isinstance(message.get(key), str)]:
            raise ValueError(
                f"message {index} is {dict(message)!r}; it needs {' and '.join(missing)}, as text"
            )
    if not tokenizer.has_chat_template:
        raise ValueError("this model has no chat template; give the prompt as one text instead of messages")
    return tokenizer.apply_chat_template(list(messages), add_generation_prompt=True)
