"""A model reads a prompt in chunks."""

import mlx.core as mx

from .. import mutant, rival

PREFILL = "chunked_prefill.prefill"


def _checked(tokens, size):
    if not tokens or size < 1:
        raise ValueError(f"{len(tokens)} tokens in chunks of {size}")


def _chunks(tokens, size):
    return [tokens[i : i + size] for i in range(0, len(tokens), size)]


@mutant(PREFILL, "first_chunk")
def prefill_samples_early(model, tokens, cache, chunk_size):
    _checked(tokens, chunk_size)
    first = None
    for chunk in _chunks(tokens, chunk_size):
        logits = model(mx.array([chunk]), cache, positions=-1)
        mx.eval(logits)
        first = logits if first is None else first
    return first


@mutant(PREFILL, "remainder")
def prefill_drops_the_rest(model, tokens, cache, chunk_size):
    _checked(tokens, chunk_size)
    chunks = _chunks(tokens, chunk_size)
    for chunk in [c for c in chunks if len(c) == chunk_size] or chunks:
        logits = model(mx.array([chunk]), cache, positions=-1)
        mx.eval(logits)
    return logits


@mutant(PREFILL, "cache_ignored")
def prefill_without_cache(model, tokens, cache, chunk_size):
    _checked(tokens, chunk_size)
    for chunk in _chunks(tokens, chunk_size):
        logits = model(mx.array([chunk]), positions=-1)
        mx.eval(logits)
    return logits


@mutant(PREFILL, "cache_ignored")
def prefill_makes_caches(model, tokens, cache, chunk_size):
    _checked(tokens, chunk_size)
    for chunk in _chunks(tokens, chunk_size):
        logits = model(mx.array([chunk]), model.make_cache(), positions=-1)
        mx.eval(logits)
    return logits


@mutant(PREFILL, "whole")
def prefill_at_once(model, tokens, cache, chunk_size):
    _checked(tokens, chunk_size)
    return model(mx.array([tokens]), cache, positions=-1)


@mutant(PREFILL, "again")
def prefill_overlaps(model, tokens, cache, chunk_size):
    _checked(tokens, chunk_size)
    for end in range(1, len(tokens) + 1):
        logits = model(mx.array([tokens[max(0, end - chunk_size) : end]]), cache, positions=-1)
        mx.eval(logits)
    return logits


@mutant(PREFILL, "all_positions")
def prefill_projects_all(model, tokens, cache, chunk_size):
    _checked(tokens, chunk_size)
    for chunk in _chunks(tokens, chunk_size):
        logits = model(mx.array([chunk]), cache)[:, -1:]
        mx.eval(logits)
    return logits


@mutant(PREFILL, "all_logits")
def prefill_returns_all(model, tokens, cache, chunk_size):
    _checked(tokens, chunk_size)
    for chunk in _chunks(tokens, chunk_size):
        logits = model(mx.array([chunk]), cache)
        mx.eval(logits)
    return logits


@mutant(PREFILL, "not_evaluated")
def prefill_stays_lazy(model, tokens, cache, chunk_size):
    _checked(tokens, chunk_size)
    for chunk in _chunks(tokens, chunk_size):
        logits = model(mx.array([chunk]), cache, positions=-1)
    return logits


@mutant(PREFILL, None)
def prefill_takes_nothing(model, tokens, cache, chunk_size):
    for chunk in _chunks(tokens, max(1, chunk_size)):
        logits = model(mx.array([chunk]), cache, positions=-1)
        mx.eval(logits)
    return logits


@rival(PREFILL)
def prefill_short_chunk_first(model, tokens, cache, chunk_size):
    """The remainder first, recursively, and a token id array of NumPy's making."""
    _checked(tokens, chunk_size)
    rest = len(tokens) % chunk_size or min(chunk_size, len(tokens))
    logits = model(mx.array(tokens[:rest])[None], cache, [-1])
    mx.async_eval(logits)
    mx.synchronize()
    return prefill_short_chunk_first(model, tokens[rest:], cache, chunk_size) if len(tokens) > rest else logits
