"""Static batching: prompts padded to one length, a batch that stays together until its last answer ends.

A tensor has rows of one length, prompts do not. Padding goes on the left, so that the last token of every
row, the one that chooses the next, stands in the last column, and every row's new token goes into the
same new column. What it costs:

- the model computes the padding, too;
- a row whose answer has ended is computed until the longest answer of its batch has ended.

`techniques.batched_kv_cache` and `techniques.scheduling` do without both.

(Hugging Face transformers pads generation batches in this way:
https://huggingface.co/docs/transformers/pad_truncation)
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import mlx.core as mx

from course_lib.techniques.kv_cache import check_update


def left_pad(prompts: Sequence[Sequence[int]], pad_token: int = 0) -> tuple[mx.array, list[int]]:
    """Put prompts of different lengths into one tensor, padded on the left.

    Args:
        prompts: token ids, at least one prompt, each of at least one token. They stay as they are.
        pad_token: the id to fill up with. Which one does not matter: nobody may look at it.

    Returns:
        ids, int32 [B, L] with L the longest length; and how many of each row are padding.

    Raises:
        ValueError: no prompts, or an empty one.
    """
    if not prompts or not all(len(prompt) for prompt in prompts):
        raise ValueError("wanted at least one prompt, and at least one token in each")
    L = max(len(prompt) for prompt in prompts)
    padding = [L - len(prompt) for prompt in prompts]
    rows = [[pad_token] * pad + list(prompt) for pad, prompt in zip(padding, prompts, strict=True)]
    return mx.array(rows, dtype=mx.int32), padding


class LeftPaddedCache:
    """One layer's keys and values of a left-padded batch. It serves as a model's cache.

    Args:
        padding: tokens of padding at the beginning of each row.

    Attributes:
        held (int): columns held, padding included: the same for all rows.
    """

    def __init__(self, padding: Sequence[int]) -> None:
        self.padding = mx.array(list(padding), dtype=mx.int32)  # [B]
        self.held = 0
        self._keys: mx.array | None = None
        self._values: mx.array | None = None

    @property
    def offset(self) -> mx.array:
        """The position of each row's next column, int32 [B]; below 0 where that is padding.

        A row's first real token stands at position 0, as it would alone.
        """
        return self.held - self.padding

    def make_mask(self, L: int) -> mx.array:
        """Which columns the next L tokens of each row may attend to; to be called before they are appended.

        Returns:
            Booleans [B, 1, L, held + L]: columns up to its own that are no padding. A query that is
            padding itself sees nothing.
        """
        column = mx.arange(self.held + L)
        query = mx.arange(self.held, self.held + L)[:, None]  # [L, 1]
        return ((column <= query) & (column >= self.padding[:, None, None]))[:, None]

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Append keys and values [B, H_kv, L, D]; return all columns of both, [B, H_kv, held, D].

        Raises:
            ValueError: shapes or dtypes that do not fit each other or what is held.
        """
        check_update(keys, values, self._keys, self._values)
        if self._keys is not None:
            keys = mx.concatenate([self._keys, keys], axis=2)
            values = mx.concatenate([self._values, values], axis=2)
        self._keys, self._values = keys, values
        self.held = keys.shape[2]
        return keys, values


def generate_static(
    model, prompts: Sequence[Sequence[int]], max_tokens: Sequence[int], stop_tokens: Collection[int] = ()
) -> list[list[int]]:
    """Greedy answers to one static batch.

    Args:
        model: as `load` returns it.
        prompts: token ids.
        max_tokens: most tokens of each answer.
        stop_tokens: ids that end an answer; they are not part of it.

    Returns:
        The new ids, a list a prompt.
    """
    unread, padding = left_pad(prompts)
    cache = [LeftPaddedCache(padding) for _ in model.blocks]
    answers: list[list[int]] = [[] for _ in prompts]
    going = [True] * len(prompts)
    while any(going):
        chosen = mx.argmax(model(unread, cache, positions=-1)[:, -1], axis=-1)  # [B]
        for row, token in enumerate(chosen.tolist()):
            if going[row] and token not in stop_tokens:
                answers[row].append(token)
            going[row] = going[row] and token not in stop_tokens and len(answers[row]) < max_tokens[row]
        unread = chosen[:, None]  # rows that have ended are computed with the others, for nobody
    return answers


class Waste(NamedTuple):
    """Token positions that static batches compute: for somebody, for padding, for rows that have ended."""

    useful: int
    padding: int
    waiting: int


def static_waste(prompt_lengths: Sequence[int], answer_lengths: Sequence[int], batch_size: int) -> Waste:
    """Count what static batches compute, and for whom.

    Args:
        prompt_lengths: tokens of each prompt, in the order in which they are batched.
        answer_lengths: tokens of each answer, as many.
        batch_size: requests that form a batch; the last batch may be smaller.

    Returns:
        Token positions over all batches. A batch reads its prompts in one pass, which also gives each
        answer's first token; each further token of the longest answer takes one pass over all rows.

    Raises:
        ValueError: no lengths, not as many answers as prompts, or a number below 1.
    """
    numbers = [batch_size, *prompt_lengths, *answer_lengths]
    if not prompt_lengths or len(prompt_lengths) != len(answer_lengths) or min(numbers) < 1:
        raise ValueError("wanted as many answers as prompts, at least one, and all numbers at least 1")
    useful = padding = waiting = 0
    for start in range(0, len(prompt_lengths), batch_size):
        prompts = prompt_lengths[start : start + batch_size]
        decoded = [length - 1 for length in answer_lengths[start : start + batch_size]]
        useful += sum(prompts) + sum(decoded)
        padding += max(prompts) * len(prompts) - sum(prompts)
        waiting += max(decoded) * len(prompts) - sum(decoded)
    return Waste(useful, padding, waiting)
