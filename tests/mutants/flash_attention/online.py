"""Wrong and right steps of the online softmax."""

import mlx.core as mx

from course_lib.techniques.flash_attention import Carried

from .. import mutant, rival

TAKE_UP = "flash_attention.take_up"


def _step(carried, scores, values, *, largest=None, factor=None, sum_factor=None, value_factor=None, guard=True):
    """The right step, with one thing done otherwise."""
    tile = mx.max(scores, axis=-1, keepdims=True)
    new = mx.maximum(carried.largest, tile) if largest is None else largest(carried.largest, tile)
    reference = mx.where(new == -mx.inf, 0, new) if guard else new
    rescale = mx.exp(carried.largest - reference) if factor is None else factor(carried.largest, reference)
    weights = mx.exp(scores - reference)
    total = carried.total * (rescale if sum_factor is None else sum_factor) + mx.sum(weights, axis=-1, keepdims=True)
    weighted = carried.weighted * (rescale if value_factor is None else value_factor) + weights @ values
    return Carried(new, total, weighted)


@mutant(TAKE_UP, "tile_largest")
def forgets_the_larger(carried, scores, values):
    return _step(carried, scores, values, largest=lambda old, tile: tile)


@mutant(TAKE_UP, "not_updated")
def returns_the_old_largest(carried, scores, values):
    return _step(carried, scores, values)._replace(largest=carried.largest)


@mutant(TAKE_UP, "total_not_rescaled")
def no_rescale_of_the_total(carried, scores, values):
    return _step(carried, scores, values, sum_factor=1)


@mutant(TAKE_UP, "values_not_rescaled")
def no_rescale_of_the_accumulator(carried, scores, values):
    return _step(carried, scores, values, value_factor=1)


@mutant(TAKE_UP, "upside_down")
def rescales_upside_down(carried, scores, values):
    return _step(carried, scores, values, factor=lambda old, new: mx.where(old == -mx.inf, 0, mx.exp(new - old)))


@mutant(TAKE_UP, "divided")
def divides_at_once(carried, scores, values):
    out = _step(carried, scores, values)
    return out._replace(weighted=out.weighted / mx.where(out.total == 0, 1, out.total))


@mutant(TAKE_UP, "nan")
def without_a_guard(carried, scores, values):
    return _step(carried, scores, values, guard=False)


@mutant(TAKE_UP, None)
def starts_anew(carried, scores, values):
    return _step(carried, scores, values, sum_factor=0, value_factor=0)


@rival(TAKE_UP)
def merges_two_softmaxes(carried, scores, values):
    """The tile for itself first, then both brought to one scale."""
    tile = mx.max(scores, axis=-1, keepdims=True)
    weights = mx.where(scores == -mx.inf, 0, mx.exp(scores - tile))
    new = mx.maximum(carried.largest, tile)
    old, now = (mx.where(x == -mx.inf, 0, mx.exp(x - new)) for x in (carried.largest, tile))
    return new, carried.total * old + weights.sum(-1, keepdims=True) * now, carried.weighted * old + weights @ values * now


@rival(TAKE_UP)
def key_by_key(carried, scores, values):
    for j in range(scores.shape[1]):
        carried = _step(carried, scores[:, j : j + 1], values[j : j + 1])
    return carried
