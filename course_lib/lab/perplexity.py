"""How well does a model expect a text? Perplexity: the number of equally likely tokens that it wavers between.

    perplexity = exp( -1/(N-1) * sum of log p(token i | tokens before it) )
"""

from collections.abc import Callable, Sequence

import mlx.core as mx


def perplexity(logits_of: Callable[[mx.array], mx.array], tokens: Sequence[int]) -> float:
    """Perplexity of the tokens after the first, each predicted from all before it.

    Args:
        logits_of: ids [1, L] -> logits [1, L, V], such as a model without a cache.
        tokens: ids, at least two.

    Raises:
        ValueError: fewer than two tokens.
    """
    if len(tokens) < 2:
        raise ValueError(f"perplexity needs at least 2 tokens, one to begin with; given {len(tokens)}.")
    ids = mx.array(list(tokens))
    logits = logits_of(ids[None, :-1])[0].astype(mx.float32)  # [L - 1, V]
    likely = mx.take_along_axis(logits, ids[1:, None], axis=-1)[:, 0] - mx.logsumexp(logits, axis=-1)
    return float(mx.exp(-mx.mean(likely)).item())
