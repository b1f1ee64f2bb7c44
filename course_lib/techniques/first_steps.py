"""Reference versions for notebook 00: a norm, an honest clock, greedy generation, and nucleus sampling."""

import statistics
import time
from collections.abc import Callable, Sequence

import mlx.core as mx


def rms_norm(x: mx.array, weight: mx.array, eps: float = 1e-5) -> mx.array:
    """Divide each vector by its root mean square, then scale it by `weight`.

    Computed in float32 whatever the input's dtype: the square of 300 is more than float16 can hold.

    Args:
        x: [..., E].
        weight: [E].
        eps: added to the mean square, so that a zero vector stays zero.

    Returns:
        [..., E], dtype of `x`.

    Source: Zhang and Sennrich, 2019, https://arxiv.org/abs/1910.07467
    """
    wide = x.astype(mx.float32)
    mean_square = mx.mean(wide * wide, axis=-1, keepdims=True)
    return (wide * mx.rsqrt(mean_square + eps)).astype(x.dtype) * weight.astype(x.dtype)


def median_time(fn: Callable[[], mx.array], rounds: int = 5, clock: Callable[[], float] = time.perf_counter) -> float:
    """Median seconds of one call of `fn`, its lazy result evaluated inside the clock, after a warm-up call.

    Args:
        fn: returns an array, or a list of arrays.
        rounds: number of timed calls.
        clock: a function that gives seconds.
    """
    mx.eval(fn())  # warm-up: first calls compile kernels and allocate buffers
    seconds = []
    for _ in range(rounds):
        begin = clock()
        mx.eval(fn())
        seconds.append(clock() - begin)
    return statistics.median(seconds)


def greedy_generate(
    model: Callable[[mx.array], mx.array], tokens: Sequence[int], max_tokens: int, stop_tokens: Sequence[int] = ()
) -> list[int]:
    """Generate without a cache: run the model over everything so far, take the likeliest next token, repeat.

    Args:
        model: token ids [1, L] -> logits [1, L, V].
        tokens: the prompt's ids.
        max_tokens: generate at most so many.
        stop_tokens: generation ends when one of these is chosen; it is not part of the result.

    Returns:
        The new ids, without the prompt.
    """
    generated: list[int] = []
    for _ in range(max_tokens):
        logits = model(mx.array([[*tokens, *generated]]))  # [1, L, V]
        token = mx.argmax(logits[0, -1]).item()
        if token in stop_tokens:
            break
        generated.append(token)
    return generated


def top_p_filter(logits: mx.array, top_p: float) -> mx.array:
    """Keep the smallest set of likeliest tokens whose probabilities sum to at least `top_p`.

    Args:
        logits: [V].
        top_p: in (0, 1].

    Returns:
        [V]: the logit where a token is kept, -inf elsewhere.

    Source: Holtzman et al., 2019, https://arxiv.org/abs/1904.09751
    """
    order = mx.argsort(-logits)  # likeliest first
    probabilities = mx.softmax(logits[order], axis=-1)
    # Probability of all likelier tokens: below top_p means that the set is not complete without this one.
    before = mx.cumsum(probabilities) - probabilities
    keep_sorted = before < top_p
    keep = mx.zeros(logits.shape, dtype=mx.bool_)
    keep[order] = keep_sorted
    return mx.where(keep, logits, -mx.inf)
