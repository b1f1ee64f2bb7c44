"""Wrong and right softmaxes."""

import mlx.core as mx
import numpy as np

from .. import mutant, rival

SOFTMAX = "flash_attention.stable_softmax"


def _from(scores, reference, axis=-1):
    weights = mx.exp(scores - reference)
    return weights / mx.sum(weights, axis=axis, keepdims=True)


@mutant(SOFTMAX, "overflow")
def as_in_the_book(scores):
    return _from(scores, 0)


@mutant(SOFTMAX, "underflow")
def only_positive(scores):
    return _from(scores, mx.maximum(mx.max(scores, axis=-1, keepdims=True), 0))


@mutant(SOFTMAX, "one_largest")
def one_for_all(scores):
    return _from(scores, mx.max(scores))


@mutant(SOFTMAX, "nothing_seen")
def as_mlx(scores):
    return mx.softmax(scores, axis=-1)


@mutant(SOFTMAX, "evenly")
def spreads(scores):
    weights = mx.softmax(scores, axis=-1)
    return mx.where(mx.isnan(weights), 1 / scores.shape[-1], weights)


@mutant(SOFTMAX, "wrong_axis")
def over_the_queries(scores):
    return mx.softmax(scores, axis=0)


@mutant(SOFTMAX, None)
def not_divided(scores):
    return mx.exp(scores - mx.maximum(mx.max(scores, axis=-1, keepdims=True), -1e30))


@rival(SOFTMAX)
def zeroes_afterwards(scores):
    weights = mx.softmax(scores, axis=-1)
    return mx.where(mx.isnan(weights), 0, weights)


@rival(SOFTMAX)
def in_numpy(scores):
    x = np.array(scores)
    largest = np.maximum(x.max(-1, keepdims=True), np.finfo(np.float32).min)
    weights = np.exp(x - largest)
    return mx.array(weights / np.maximum(weights.sum(-1, keepdims=True), 1e-30))
