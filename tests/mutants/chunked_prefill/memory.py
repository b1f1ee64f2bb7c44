"""Chunks that fit a number of bytes."""

from math import floor, sqrt

from .. import mutant, rival

PLAN = "chunked_prefill.plan_chunks"


def _most(num_tokens, num_heads, score_bytes, heads=True, four=4):
    if score_bytes < 4 * num_heads * num_tokens:
        raise ValueError("too few bytes")
    return score_bytes // (four * (num_heads if heads else 1))


def _plan(num_tokens, fits):
    chunks, held = [], 0
    while held < num_tokens:
        size = 1
        while held + size < num_tokens and fits(size + 1, held):
            size += 1
        chunks.append(size)
        held += size
    return chunks


@mutant(PLAN, "square")
def plan_squares(num_tokens, num_heads, score_bytes):
    most = _most(num_tokens, num_heads, score_bytes)
    return _plan(num_tokens, lambda L, held: L * L <= most)


@mutant(PLAN, "past_only")
def plan_forgets_itself(num_tokens, num_heads, score_bytes):
    most = _most(num_tokens, num_heads, score_bytes)
    return _plan(num_tokens, lambda L, held: L * max(1, held) <= most)


@mutant(PLAN, "heads")
def plan_one_head(num_tokens, num_heads, score_bytes):
    most = _most(num_tokens, num_heads, score_bytes, heads=False)
    return _plan(num_tokens, lambda L, held: L * (held + L) <= most)


@mutant(PLAN, "bytes")
def plan_counts_numbers(num_tokens, num_heads, score_bytes):
    most = _most(num_tokens, num_heads, score_bytes, four=1)
    return _plan(num_tokens, lambda L, held: L * (held + L) <= most)


@mutant(PLAN, "one_more")
def plan_rounds_up(num_tokens, num_heads, score_bytes):
    most = _most(num_tokens, num_heads, score_bytes)
    return _plan(num_tokens, lambda L, held: (L - 1) * (held + L - 1) <= most)


@mutant(PLAN, "same_size")
def plan_same_size(num_tokens, num_heads, score_bytes):
    size = _most(num_tokens, num_heads, score_bytes) // num_tokens
    return [min(size, num_tokens - start) for start in range(0, num_tokens, size)]


@mutant(PLAN, "remainder")
def plan_fills_up(num_tokens, num_heads, score_bytes):
    most, chunks, held = _most(num_tokens, num_heads, score_bytes), [], 0
    while held < num_tokens:
        size = 1
        while (size + 1) * (held + size + 1) <= most:
            size += 1
        chunks.append(size)
        held += size
    return chunks


@mutant(PLAN, None)
def plan_never_refuses(num_tokens, num_heads, score_bytes):
    most = score_bytes // (4 * num_heads)
    return _plan(num_tokens, lambda L, held: L * (held + L) <= most)


@rival(PLAN)
def plan_by_square_root(num_tokens, num_heads, score_bytes):
    most = score_bytes / 4 / num_heads
    if most < num_tokens:
        raise ValueError("the last row does not fit")
    chunks = []
    while (held := sum(chunks)) < num_tokens:
        size = floor((sqrt(held**2 + 4 * most) - held) / 2 + 1e-9)
        chunks.append(min(size, num_tokens - held))
    return chunks
