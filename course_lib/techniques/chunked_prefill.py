"""A prompt read in chunks, and a step that mixes chunks of prompts with decoding.

A token's keys and values depend on what stands before it and on nothing that follows. So a prompt may be
read in pieces of any size, one after the other through the KV cache, and gives the same logits as in one.
Three things must be right for each chunk: its positions begin where the cache ends; its mask is a
rectangle, all of the past and a triangle at the right end; and only the last chunk chooses a token.

What is gained: memory for intermediate results grows with the chunk and not with the prompt, and between
two chunks there is time for others. Which chunks a step of an engine takes is `scheduling.schedule_chunked`.

Sources: Sarathi-Serve (https://arxiv.org/abs/2403.02310); selective batching of a ragged step, Orca
(https://www.usenix.org/conference/osdi22/presentation/yu).
"""

from collections.abc import Callable, Mapping, Sequence
from math import isqrt
from statistics import median
from typing import Any

import mlx.core as mx

from course_lib.techniques.attention import causal_mask
from course_lib.techniques.cached_attention import AttentionLayer

SCORE_BYTES = 4  # scores are float32


def prefill_layer(x: mx.array, layer: AttentionLayer, chunk_size: int) -> mx.array:
    """One attention layer over a prompt, at most `chunk_size` tokens at a time.

    Args:
        x: [B, S, E].
        layer: the weights.
        chunk_size: at least 1; the last chunk is what is left.

    Returns:
        [B, S, E]: what `full_attention` gives.

    Raises:
        ValueError: chunk_size is below 1.
    """
    check_chunk_size(chunk_size)
    S = x.shape[1]
    keys, values, outs = [], [], []
    for start in range(0, S, chunk_size):
        queries, new_keys, new_values = layer.project(x[:, start : start + chunk_size])
        queries = layer.rope(queries, start)
        keys.append(layer.rope(new_keys, start))
        values.append(new_values)
        L = queries.shape[2]
        heads = mx.fast.scaled_dot_product_attention(
            queries,
            mx.concatenate(keys, axis=2),  # [B, H_kv, start + L, D]
            mx.concatenate(values, axis=2),
            scale=layer.scale,
            mask=causal_mask(L, start + L),
        )
        outs.append(layer.output(heads))
    return mx.concatenate(outs, axis=1)


def prefill_chunked(model: Callable, tokens: Sequence[int], cache: list, chunk_size: int) -> mx.array:
    """Read a prompt into a cache, at most `chunk_size` tokens at a time.

    Args:
        model: `model(ids [1, L], cache, positions=-1)` gives the logits [1, 1, V] of the last position.
        tokens: the prompt, at least one id.
        cache: one entry a layer; takes up the prompt behind what it holds.
        chunk_size: at least 1.

    Returns:
        The logits [1, 1, V] after the last token. No other position is projected into the vocabulary.

    Raises:
        ValueError: no tokens, or chunk_size is below 1.
    """
    check_chunk_size(chunk_size)
    if not tokens:
        raise ValueError("the prompt is empty; the model needs at least one token to read")
    for start in range(0, len(tokens), chunk_size):
        logits = model(mx.array([list(tokens[start : start + chunk_size])]), cache, positions=-1)
        # At once: MLX would otherwise record the work of all chunks before it begins with the first.
        mx.eval(logits)
    return logits


def plan_chunks(num_tokens: int, num_heads: int, score_bytes: int) -> list[int]:
    """The fewest chunks of a prompt whose matrices of scores fit a number of bytes.

    L queries on S keys take num_heads * L * S scores of 4 bytes in one layer, where attention keeps them
    all (fused kernels do not). S grows from chunk to chunk, so L shrinks.

    Args:
        num_tokens: of the prompt.
        num_heads: H, query heads.
        score_bytes: most bytes of the scores of one layer.

    Returns:
        Chunk sizes; each is the largest that fits.

    Raises:
        ValueError: some token does not fit alone.
    """
    most = score_bytes // (SCORE_BYTES * num_heads)  # L * (held + L) may not be more
    chunks, held = [], 0
    while held < num_tokens:
        size = (isqrt(held * held + 4 * most) - held) // 2  # the root of L^2 + held L - most
        if size < 1:
            raise ValueError(
                f"{score_bytes:,} bytes hold no row of scores of {num_heads} heads on {held + 1} keys; "
                f"the whole prompt wants at least {SCORE_BYTES * num_heads * num_tokens:,}"
            )
        chunks.append(min(size, num_tokens - held))
        held += chunks[-1]
    return chunks


def lay_out(work: Sequence[tuple[Any, int]]) -> tuple[list[int], list[int], list[int], list[Any]]:
    """The tokens of a step, one after the other, and where tokens come out.

    Args:
        work: (request, num_tokens) as a schedule returns them; a request has `num_computed_tokens`,
            `num_new_tokens` and `next_tokens(count)`.

    Returns:
        tokens [T]: ids; positions [T]: of each in its own text; last: indices into the T tokens, the last
        one of each request that has no unread token left after this step; sampled: these requests.
    """
    tokens, positions, last, sampled = [], [], [], []
    for request, count in work:
        held = request.num_computed_tokens
        tokens += request.next_tokens(count)
        positions += range(held, held + count)
        if count == request.num_new_tokens:
            last.append(len(tokens) - 1)
            sampled.append(request)
    return tokens, positions, last, sampled


class RaggedLayer:
    """One layer's caches of all requests in a step, as one cache whose rows are tokens.

    It has the protocol of `course_lib.llm.parts.Cache` with `attend`. The model is given the T tokens of a
    step as [T, 1]; its linear layers, norms and RoPE treat each token by itself. Attention alone needs to
    know whose they are: it runs once for each request. (`engine.ragged_step` also joins all requests that
    decode into one call.)

    Args:
        caches: one for each request, with `offset` and `update_and_fetch`.
        counts: tokens of each in this step.
    """

    def __init__(self, caches: Sequence[Any], counts: Sequence[int]) -> None:
        self.caches, self.counts = caches, counts
        self.offset = mx.concatenate(
            [mx.arange(cache.offset, cache.offset + n) for cache, n in zip(caches, counts, strict=True)]
        )  # [T]

    def attend(
        self, queries: mx.array, keys: mx.array, values: mx.array, *, scale: float, attention: Callable
    ) -> mx.array:
        """queries [T, H, 1, D], keys and values [T, H_kv, 1, D] -> [T, H, 1, D]."""
        outs, start = [], 0
        for cache, count in zip(self.caches, self.counts, strict=True):
            rows = slice(start, start + count)
            # A request's tokens are rows of the step and columns of its own text: [n, H, 1, D] <-> [1, H, n, D].
            own = [array[rows].swapaxes(0, 2) for array in (queries, keys, values)]
            held = cache.update_and_fetch(*own[1:])
            out = attention(own[0], *held, scale=scale, mask="causal" if count > 1 else None)
            outs.append(out.swapaxes(0, 2))
            start += count
        return mx.concatenate(outs)


def choose_budget(costs: Mapping[int, Sequence[float]], goal: float) -> int:
    """The largest budget of tokens whose steps take no longer than wanted.

    Between two measured sizes the time is taken to rise in a straight line; beyond the largest nothing is
    known, so nothing larger is chosen.

    Args:
        costs: tokens in a step -> seconds of some such steps; their median counts.
        goal: seconds that a step may take.

    Raises:
        ValueError: nothing was measured, or even the smallest step takes longer than the goal.
    """
    if not costs:
        raise ValueError("choose_budget was given no measured steps")
    sizes = sorted(costs)
    seconds = [median(costs[size]) for size in sizes]
    if seconds[0] > goal:
        raise ValueError(
            f"a step of {sizes[0]} tokens takes {seconds[0]:.3g} s; no budget keeps to {goal:.3g} s"
        )
    best = sizes[0]
    for (small, fast), (large, slow) in zip(
        zip(sizes, seconds, strict=True), zip(sizes[1:], seconds[1:], strict=True), strict=False
    ):
        if slow > goal:
            return best + int((large - small) * (goal - fast) / (slow - fast))
        best = large
    return best


def check_chunk_size(chunk_size: int) -> None:
    """Raises ValueError unless a chunk holds at least one token."""
    if chunk_size < 1:
        raise ValueError(f"chunk_size is {chunk_size}; a chunk holds at least 1 token")
