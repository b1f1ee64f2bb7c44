"""Prefill and decode."""

import mlx.core as mx
import numpy as np

from .. import mutant, rival

GENERATE = "kv_cache.generate"


def _choose(model, ids, cache, positions=-1):
    return mx.argmax(model(mx.array([ids]), cache, positions=positions)[0, -1]).item()


def _loop(model, tokens, max_tokens, stop_tokens, cache, feed):
    """`feed(prompt, new)` says what the model reads next; None for the caller's cache makes a new one."""
    cache = model.make_cache() if cache is None else cache
    new = []
    for _ in range(max_tokens):
        token = _choose(model, feed(list(tokens), new), cache)
        if token in stop_tokens:
            break
        new.append(token)
    return new


@mutant(GENERATE, "reread")
def generate_feeds_everything(model, tokens, max_tokens, stop_tokens=(), cache=None):
    return _loop(model, tokens, max_tokens, stop_tokens, cache, lambda prompt, new: [*prompt, *new])


@mutant(GENERATE, "recompute")
def generate_without_cache(model, tokens, max_tokens, stop_tokens=(), cache=None):
    new = []
    for _ in range(max_tokens):
        token = mx.argmax(model(mx.array([[*tokens, *new]]))[0, -1]).item()
        if token in stop_tokens:
            break
        new.append(token)
    return new


@mutant(GENERATE, "only_last")
def generate_forgets_the_cache(model, tokens, max_tokens, stop_tokens=(), cache=None):
    cache = model.make_cache() if cache is None else cache
    new, ids = [], list(tokens)
    for step in range(max_tokens):
        token = _choose(model, ids, cache if step == 0 else None)
        if token in stop_tokens:
            break
        new.append(token)
        ids = [token]
    return new


@mutant(GENERATE, "only_last")
def generate_from_last_token(model, tokens, max_tokens, stop_tokens=(), cache=None):
    cache = model.make_cache() if cache is None else cache
    return _loop(model, tokens, max_tokens, stop_tokens, cache, lambda prompt, new: [*prompt, *new][-1:])


@mutant(GENERATE, "new_cache")
def generate_makes_caches(model, tokens, max_tokens, stop_tokens=(), cache=None):
    new, ids = [], list(tokens)
    for _ in range(max_tokens):
        token = _choose(model, ids, model.make_cache())
        if token in stop_tokens:
            break
        new.append(token)
        ids = [token]
    return new


@mutant(GENERATE, "last_twice")
def generate_reads_last_twice(model, tokens, max_tokens, stop_tokens=(), cache=None):
    if max_tokens == 0:
        return []
    cache = model.make_cache() if cache is None else cache
    model(mx.array([list(tokens)]), cache, positions=-1)  # its answer is not used
    return _loop(model, tokens, max_tokens, stop_tokens, cache, lambda prompt, new: new[-1:] or prompt[-1:])


@mutant(GENERATE, "last_twice")
def generate_decodes_from_the_prompt(model, tokens, max_tokens, stop_tokens=(), cache=None):
    cache = model.make_cache() if cache is None else cache
    new, ids = [], list(tokens)
    for _ in range(max_tokens):
        token = _choose(model, ids, cache)
        if token in stop_tokens:
            break
        ids = [(new or list(tokens))[-1]]  # one behind
        new.append(token)
    return new


@mutant(GENERATE, "token_by_token")
def generate_reads_slowly(model, tokens, max_tokens, stop_tokens=(), cache=None):
    if max_tokens == 0:
        return []
    cache = model.make_cache() if cache is None else cache
    for token in list(tokens)[:-1]:
        model(mx.array([[token]]), cache, positions=-1)
    return _loop(model, tokens, max_tokens, stop_tokens, cache, lambda prompt, new: new[-1:] or prompt[-1:])


@mutant(GENERATE, "cache_ignored")
def generate_ignores_the_cache(model, tokens, max_tokens, stop_tokens=(), cache=None):
    return _loop(model, tokens, max_tokens, stop_tokens, None, lambda prompt, new: new[-1:] or prompt)


@mutant(GENERATE, "not_read")
def generate_rewinds_behind_your_back(model, tokens, max_tokens, stop_tokens=(), cache=None):
    cache = model.make_cache() if cache is None else cache
    new = _loop(model, tokens, max_tokens, stop_tokens, cache, lambda prompt, new: new[-1:] or prompt)
    for layer in cache:
        layer.trim(len(new))
    return new


@mutant(GENERATE, "stop_included")
def generate_keeps_stop(model, tokens, max_tokens, stop_tokens=(), cache=None):
    cache = model.make_cache() if cache is None else cache
    new, ids = [], list(tokens)
    while len(new) < max_tokens:
        new.append(_choose(model, ids, cache))
        if new[-1] in stop_tokens:
            break
        ids = new[-1:]
    return new


@mutant(GENERATE, "never_stops")
def generate_never_stops(model, tokens, max_tokens, stop_tokens=(), cache=None):
    return _loop(model, tokens, max_tokens, (), cache, lambda prompt, new: new[-1:] or prompt)


@mutant(GENERATE, "never_stops")
def generate_knows_one_stop(model, tokens, max_tokens, stop_tokens=(), cache=None):
    return _loop(model, tokens, max_tokens, list(stop_tokens)[:1], cache, lambda prompt, new: new[-1:] or prompt)


@mutant(GENERATE, "never_stops")
def generate_stops_only_later(model, tokens, max_tokens, stop_tokens=(), cache=None):
    """Does not look at the token that prefill chooses."""
    cache = model.make_cache() if cache is None else cache
    new, ids = [], list(tokens)
    for step in range(max_tokens):
        token = _choose(model, ids, cache)
        if step and token in stop_tokens:
            break
        new.append(token)
        ids = [token]
    return new


@mutant(GENERATE, "arrays")
def generate_arrays(model, tokens, max_tokens, stop_tokens=(), cache=None):
    cache = model.make_cache() if cache is None else cache
    new, ids = [], mx.array([list(tokens)])
    for _ in range(max_tokens):
        token = mx.argmax(model(ids, cache, positions=-1)[0, -1])
        if token.item() in stop_tokens:
            break
        new.append(token)
        ids = token[None, None]
    return new


@mutant(GENERATE, "changed_input")
def generate_into_the_prompt(model, tokens, max_tokens, stop_tokens=(), cache=None):
    cache = model.make_cache() if cache is None else cache
    start = unread = len(tokens)
    for step in range(max_tokens):
        token = _choose(model, tokens if step == 0 else tokens[unread:], cache)
        if token in stop_tokens:
            break
        unread = len(tokens)
        tokens.append(token)
    return tokens[start:]


@rival(GENERATE)
def generate_in_chunks(model, tokens, max_tokens, stop_tokens=(), cache=None):
    """Prefill in pieces of eight, decode one step ahead of what is asked for, and all logits each time."""
    if max_tokens < 1:
        return []
    cache = model.make_cache() if not cache else cache
    tokens = list(tokens)
    for start in range(0, len(tokens), 8):
        logits = model(mx.array(tokens[start : start + 8])[None], cache)
    new = []
    while True:
        token = int(np.array(logits)[0, -1].argmax())
        if token in set(stop_tokens):
            return new
        new.append(token)
        if len(new) == max_tokens:
            return new
        logits = model(mx.array([[token]]), cache)
