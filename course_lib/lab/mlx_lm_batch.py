"""mlx-lm's own batching, `batch_generate`, as a contender: the same weights, requests and numbers of tokens."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import mlx.core as mx

from course_lib.llm.checkpoints import find_checkpoint

from .serving import Ask


def load_stock(name: str = "smollm2-135m") -> tuple[Any, Any]:
    """mlx-lm's model and tokenizer, computed in float32 on the CPU as ours is: its half precision is slower there."""
    import mlx_lm

    model, tokenizer = mlx_lm.load(str(find_checkpoint(name)))
    if mx.default_device() == mx.cpu:
        model.set_dtype(mx.float32)
    return model, tokenizer


def serve_batch(model: Any, tokenizer: Any, asks: Sequence[Ask], max_num_seqs: int = 8) -> list[list[int]]:
    """The tokens of each answer. All requests are there at the start; nothing ends one early.

    Args:
        model, tokenizer: as `load_stock` returns them.
        max_num_seqs: requests at a time.
    """
    from mlx_lm import batch_generate

    endless = SimpleNamespace(eos_token_ids=(), decode=tokenizer.decode)
    response = batch_generate(
        model, endless, [list(ask.prompt) for ask in asks], max_tokens=[ask.max_tokens for ask in asks],
        return_token_ids=True, completion_batch_size=max_num_seqs, prefill_batch_size=max_num_seqs,
    )  # fmt: skip
    return response.token_ids
