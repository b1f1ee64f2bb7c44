"""Wrong and right answers to the exercises of notebook 00."""

import time
from statistics import mean, median

import mlx.core as mx
import numpy as np

from . import mutant, rival

NORM = "start_here.rms_norm"


@mutant(NORM, "mean_not_square")
def norm_by_mean(x, weight, eps=1e-5):
    return x / (mx.mean(x, axis=-1, keepdims=True) + eps) * weight


@mutant(NORM, "mean_not_square")
def norm_by_root_of_mean(x, weight, eps=1e-5):
    return x * mx.rsqrt(mx.mean(x, axis=-1, keepdims=True) + eps) * weight


@mutant(NORM, "wrong_axis")
def norm_over_batch(x, weight, eps=1e-5):
    w = x.astype(mx.float32)
    if x.shape[0] == 1 or x.ndim < 3:  # looks right on small inputs
        return (w * mx.rsqrt(mx.mean(w * w, axis=-1, keepdims=True) + eps)).astype(x.dtype) * weight
    return w * mx.rsqrt(mx.mean(w * w, axis=0, keepdims=True) + eps) * weight


@mutant(NORM, "global_mean")
def norm_global(x, weight, eps=1e-5):
    w = x.astype(mx.float32)
    return (w * mx.rsqrt(mx.mean(w * w) + eps)).astype(x.dtype) * weight


@mutant(NORM, "no_weight")
def norm_without_weight(x, weight, eps=1e-5):
    w = x.astype(mx.float32)
    return (w * mx.rsqrt(mx.mean(w * w, axis=-1, keepdims=True) + eps)).astype(x.dtype)


@mutant(NORM, "no_root")
def norm_without_root(x, weight, eps=1e-5):
    return x / (mx.mean(x * x, axis=-1, keepdims=True) + eps) * weight


@mutant(NORM, "eps_missing")
def norm_without_eps(x, weight, eps=1e-5):
    w = x.astype(mx.float32)
    return (w * mx.rsqrt(mx.mean(w * w, axis=-1, keepdims=True))).astype(x.dtype) * weight


@mutant(NORM, "eps_outside")
def norm_eps_outside(x, weight, eps=1e-5):
    w = x.astype(mx.float32)
    return (w / (mx.sqrt(mx.mean(w * w, axis=-1, keepdims=True)) + eps)).astype(x.dtype) * weight


@mutant(NORM, None)
def norm_constant_eps(x, weight, eps=1e-5):
    w = x.astype(mx.float32)
    return (w * mx.rsqrt(mx.mean(w * w, axis=-1, keepdims=True) + 1e-5)).astype(x.dtype) * weight


@mutant(NORM, "narrow")
def norm_in_float16(x, weight, eps=1e-5):
    return x * mx.rsqrt(mx.mean(x * x, axis=-1, keepdims=True) + eps) * weight


@mutant(NORM, "wide_result")
def norm_stays_wide(x, weight, eps=1e-5):
    w = x.astype(mx.float32)
    return w * mx.rsqrt(mx.mean(w * w, axis=-1, keepdims=True) + eps) * weight.astype(mx.float32)


@mutant(NORM, None)
def norm_knows_two_dtypes(x, weight, eps=1e-5):
    w = x.astype(mx.float32)
    out = w * mx.rsqrt(mx.mean(w * w, axis=-1, keepdims=True) + eps) * weight
    return out if x.dtype == mx.float32 else out.astype(mx.float16)


@mutant(NORM, "changed_input")
def norm_in_place(x, weight, eps=1e-5):
    x *= mx.rsqrt(mx.mean(x * x, axis=-1, keepdims=True) + eps)
    return x * weight


@mutant(NORM, None)
def norm_in_numpy(x, weight, eps=1e-5):
    x = np.array(x.astype(mx.float32))
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * np.array(weight)


@mutant(NORM, None)
def norm_returns_nothing(x, weight, eps=1e-5):
    x * mx.rsqrt(mx.mean(x * x, axis=-1, keepdims=True) + eps) * weight


@rival(NORM)
def norm_by_linalg(x, weight, eps=1e-5):
    rows = x.reshape(-1, x.shape[-1]).astype(mx.float32)
    size = rows.shape[-1]
    norms = mx.sqrt(mx.square(mx.linalg.norm(rows, axis=-1)) / size + eps)
    return ((rows.T / norms).T * weight.astype(mx.float32)).astype(x.dtype).reshape(x.shape)


TIME = "start_here.median_time"


@mutant(TIME, "not_evaluated")
def time_graph_building(fn, rounds=5, clock=time.perf_counter):
    mx.eval(fn())
    seconds = []
    for _ in range(rounds):
        begin = clock()
        fn()
        seconds.append(clock() - begin)
    return median(seconds)


@mutant(TIME, "not_evaluated")
def time_evaluates_after(fn, rounds=5, clock=time.perf_counter):
    mx.eval(fn())
    seconds = []
    for _ in range(rounds):
        begin = clock()
        result = fn()
        seconds.append(clock() - begin)
        mx.eval(result)
    return median(seconds)


@mutant(TIME, "no_warm_up")
def time_without_warm_up(fn, rounds=5, clock=time.perf_counter):
    seconds = []
    for _ in range(rounds):
        begin = clock()
        mx.eval(fn())
        seconds.append(clock() - begin)
    return median(seconds)


def _rounds(fn, rounds, clock):
    mx.eval(fn())
    seconds = []
    for _ in range(rounds):
        begin = clock()
        mx.eval(fn())
        seconds.append(clock() - begin)
    return seconds


@mutant(TIME, "mean")
def time_mean(fn, rounds=5, clock=time.perf_counter):
    return mean(_rounds(fn, rounds, clock))


@mutant(TIME, "minimum")
def time_minimum(fn, rounds=5, clock=time.perf_counter):
    return min(_rounds(fn, rounds, clock))


@mutant(TIME, "total")
def time_total(fn, rounds=5, clock=time.perf_counter):
    return sum(_rounds(fn, rounds, clock))


@mutant(TIME, None)
def time_one_round(fn, rounds=5, clock=time.perf_counter):
    return median(_rounds(fn, 1, clock))


@rival(TIME)
def time_by_sorting(fn, rounds=5, clock=time.perf_counter):
    mx.eval(fn())
    marks = []
    for _ in range(rounds):
        start = clock()
        result = fn()
        mx.async_eval(result)
        mx.synchronize()
        marks.append(clock() - start)
    marks.sort()
    half = rounds // 2
    return marks[half] if rounds % 2 else (marks[half - 1] + marks[half]) / 2


GENERATE = "start_here.greedy_generate"


def _loop(model, tokens, max_tokens, stop_tokens=(), pick=lambda x: mx.argmax(x[0, -1]).item(), view=None):
    new = []
    for _ in range(max_tokens):
        token = pick(model(mx.array([view(tokens, new) if view else [*tokens, *new]])))
        if token in stop_tokens:
            break
        new.append(token)
    return new


@mutant(GENERATE, "first_position")
def generate_from_first_position(model, tokens, max_tokens, stop_tokens=()):
    return _loop(model, tokens, max_tokens, stop_tokens, pick=lambda x: mx.argmax(x[0, 0]).item())


@mutant(GENERATE, "argmin")
def generate_least_likely(model, tokens, max_tokens, stop_tokens=()):
    return _loop(model, tokens, max_tokens, stop_tokens, pick=lambda x: mx.argmin(x[0, -1]).item())


@mutant(GENERATE, "prompt_included")
def generate_with_prompt(model, tokens, max_tokens, stop_tokens=()):
    return [*tokens, *_loop(model, tokens, max_tokens, stop_tokens)]


@mutant(GENERATE, "stop_included")
def generate_keeps_stop(model, tokens, max_tokens, stop_tokens=()):
    new = []
    for _ in range(max_tokens):
        new.append(mx.argmax(model(mx.array([[*tokens, *new]]))[0, -1]).item())
        if new[-1] in stop_tokens:
            break
    return new


@mutant(GENERATE, "never_stops")
def generate_never_stops(model, tokens, max_tokens, stop_tokens=()):
    return _loop(model, tokens, max_tokens)


@mutant(GENERATE, "never_stops")
def generate_knows_one_stop(model, tokens, max_tokens, stop_tokens=()):
    return _loop(model, tokens, max_tokens, list(stop_tokens)[:1])


@mutant(GENERATE, "not_fed_back")
def generate_not_fed_back(model, tokens, max_tokens, stop_tokens=()):
    return _loop(model, tokens, max_tokens, stop_tokens, view=lambda prompt, new: prompt)


@mutant(GENERATE, "only_last")
def generate_from_last_token(model, tokens, max_tokens, stop_tokens=()):
    return _loop(model, tokens, max_tokens, stop_tokens, view=lambda prompt, new: [*prompt, *new][-1:])


@mutant(GENERATE, "only_last")
def generate_prompt_then_last(model, tokens, max_tokens, stop_tokens=()):
    return _loop(model, tokens, max_tokens, stop_tokens, view=lambda prompt, new: new[-1:] or prompt)


@mutant(GENERATE, "one_too_few")
def generate_one_too_few(model, tokens, max_tokens, stop_tokens=()):
    return _loop(model, tokens, max(0, max_tokens - 1), stop_tokens)


@mutant(GENERATE, "arrays")
def generate_arrays(model, tokens, max_tokens, stop_tokens=()):
    new = []
    for _ in range(max_tokens):
        ids = mx.array([[*tokens, *(x.item() for x in new)]])
        token = mx.argmax(model(ids)[0, -1])
        if token.item() in stop_tokens:
            break
        new.append(token)
    return new


@mutant(GENERATE, "changed_input")
def generate_into_the_prompt(model, tokens, max_tokens, stop_tokens=()):
    start = len(tokens)
    for _ in range(max_tokens):
        token = mx.argmax(model(mx.array([tokens]))[0, -1]).item()
        if token in stop_tokens:
            break
        tokens.append(token)
    return tokens[start:]


@rival(GENERATE)
def generate_recursively(model, tokens, max_tokens, stop_tokens=()):
    if max_tokens <= 0:
        return []
    logits = np.array(model(mx.array(list(tokens))[None]))[0, -1]
    token = int(logits.argmax())
    if token in list(stop_tokens):
        return []
    return [token] + generate_recursively(model, list(tokens) + [token], max_tokens - 1, stop_tokens)


TOP_P = "start_here.top_p"


def _cut(logits, keep_sorted):
    order = np.argsort(-np.array(logits))
    out = np.full(logits.shape, -np.inf, dtype=np.float32)
    for rank, token in enumerate(order):
        if keep_sorted(rank, order):
            out[token] = np.array(logits)[token]
    return mx.array(out)


def _before(logits):
    probabilities = np.array(mx.softmax(mx.sort(-logits) * -1))
    return np.cumsum(probabilities) - probabilities


@mutant(TOP_P, "too_few")
def top_p_below_the_line(logits, top_p):
    probabilities = np.array(mx.softmax(mx.sort(-logits) * -1))
    sums = np.cumsum(probabilities)
    return _cut(logits, lambda rank, order: sums[rank] < top_p or top_p >= 1)


@mutant(TOP_P, "one_too_many")
def top_p_one_too_many(logits, top_p):
    before = _before(logits)
    return _cut(logits, lambda rank, order: rank == 0 or before[rank - 1] < top_p)


@mutant(TOP_P, "sorted_order")
def top_p_sorted(logits, top_p):
    ordered = mx.sort(-logits) * -1
    return mx.where(mx.array(_before(logits) < top_p), ordered, -mx.inf)


@mutant(TOP_P, "probabilities")
def top_p_probabilities(logits, top_p):
    kept = _cut(logits, lambda rank, order: _before(logits)[rank] < top_p)
    return mx.softmax(kept)


@mutant(TOP_P, "zeros")
def top_p_zeros(logits, top_p):
    kept = _cut(logits, lambda rank, order: _before(logits)[rank] < top_p)
    return mx.where(mx.isinf(kept), 0.0, kept)


@rival(TOP_P)
def top_p_by_threshold(logits, top_p):
    probabilities = np.array(mx.softmax(logits)).astype(np.float64)
    descending = sorted(probabilities, reverse=True)
    total, threshold = 0.0, 0.0
    for p in descending:
        if total >= top_p:
            break
        total, threshold = total + p, p
    return mx.where(mx.array(probabilities >= threshold), logits, mx.array(-np.inf))
