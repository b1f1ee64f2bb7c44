"""Greedy generation with a cache, in two phases, and a cache that is rewound to serve the next prompt.

- **Prefill** reads the prompt in one pass: many tokens, one pass over the weights.
- **Decode** then reads one token a pass: the one just chosen.

A cache outlives its request. The next prompt of a chat begins with everything said so far, so only
what comes after the common beginning has to be read.
"""

from collections.abc import Callable, Sequence

import mlx.core as mx


def generate_cached(
    model: Callable,
    tokens: Sequence[int],
    max_tokens: int,
    stop_tokens: Sequence[int] = (),
    cache: list | None = None,
) -> list[int]:
    """Generate after a prompt, always taking the likeliest token.

    Args:
        model: `model(ids [1, L], cache, positions=-1)` gives the logits [1, 1, V] of the last
            position; `model.make_cache()` an empty cache, a list with one entry a layer.
        tokens: what the model has still to read, at least one id.
        max_tokens: generate at most so many.
        stop_tokens: generation ends when one of these is chosen; it is not part of the result.
        cache: holds everything before `tokens`; None for a new one. Afterwards it also holds
            `tokens` and the result except for its last token, which nobody has read yet.

    Returns:
        The new ids.
    """
    cache = model.make_cache() if cache is None else cache
    generated: list[int] = []
    unread = list(tokens)
    for _ in range(max_tokens):
        logits = model(mx.array([unread]), cache, positions=-1)  # prefill first, then decode
        token = mx.argmax(logits[0, -1]).item()
        if token in stop_tokens:
            break
        generated.append(token)
        unread = [token]
    return generated


def rewind(cache: list, held: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """Trim a cache to what a new prompt can use of it.

    Args:
        cache: one entry a layer, each with `trim(n)`, holding the tokens `held`.
        held: ids whose keys and values the cache holds.
        wanted: the new prompt, at least one id.

    Returns:
        The ids of `wanted` that the model has still to read: what follows the common beginning, and
        always at least the last one, since the logits after it are not in the cache.

    Raises:
        ValueError: `wanted` is empty.
    """
    if not wanted:
        raise ValueError("the new prompt is empty; the model needs at least one token to read")
    common = 0
    while common < min(len(held), len(wanted) - 1) and held[common] == wanted[common]:
        common += 1
    for layer in cache:
        layer.trim(len(held) - common)
    return list(wanted[common:])
