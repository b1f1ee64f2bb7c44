"""Wrong and right ways through the tiles."""

import mlx.core as mx

from course_lib.techniques.flash_attention import Carried, nothing_yet, result, take_up

from .. import mutant, rival

TILED = "flash_attention.tiled_attention"


def _tiled(queries, keys, values, scale, query_block, key_block, *, step=take_up, finish=result, anew=False, score_scale=1.0, whole_keys=False, whole_queries=False, evaluate=True):
    """The right one, with one thing done otherwise."""
    out = []
    L, S = queries.shape[0], keys.shape[0]
    end = max(key_block, S // key_block * key_block) if whole_keys else S
    last = max(query_block, L // query_block * query_block) if whole_queries else L
    for q in range(0, last, query_block):
        block = queries[q : q + query_block] * scale
        carried = nothing_yet(block.shape[0], values.shape[1])
        for k in range(0, end, key_block):
            if anew:
                carried = nothing_yet(block.shape[0], values.shape[1])
            carried = step(carried, block @ keys[k : k + key_block].T * score_scale, values[k : k + key_block])
        out.append(finish(carried))
        if evaluate:
            mx.eval(out[-1])
    return mx.concatenate(out)


@mutant(TILED, "no_scale")
def forgets_the_scale(queries, keys, values, *, scale, query_block=32, key_block=64):
    return _tiled(queries, keys, values, 1.0, query_block, key_block)


@mutant(TILED, "scale_twice")
def scales_twice(queries, keys, values, *, scale, query_block=32, key_block=64):
    return _tiled(queries, keys, values, scale, query_block, key_block, score_scale=scale)


@mutant(TILED, "last_keys")
def drops_the_last_partial_tile(queries, keys, values, *, scale, query_block=32, key_block=64):
    return _tiled(queries, keys, values, scale, query_block, key_block, whole_keys=True)


@mutant(TILED, "last_queries")
def drops_the_last_queries(queries, keys, values, *, scale, query_block=32, key_block=64):
    return _tiled(queries, keys, values, scale, query_block, key_block, whole_queries=True)


@mutant(TILED, "not_divided")
def never_divides(queries, keys, values, *, scale, query_block=32, key_block=64):
    return _tiled(queries, keys, values, scale, query_block, key_block, finish=lambda carried: carried.weighted)


@mutant(TILED, "no_rescale")
def no_rescale(queries, keys, values, *, scale, query_block=32, key_block=64):
    def step(carried, scores, values):
        largest = mx.maximum(carried.largest, mx.max(scores, axis=-1, keepdims=True))
        weights = mx.exp(scores - largest)
        return Carried(largest, carried.total + mx.sum(weights, axis=-1, keepdims=True), carried.weighted + weights @ values)

    return _tiled(queries, keys, values, scale, query_block, key_block, step=step)


@mutant(TILED, "own_largest")
def own_largest(queries, keys, values, *, scale, query_block=32, key_block=64):
    def step(carried, scores, values):
        weights = mx.exp(scores - mx.max(scores, axis=-1, keepdims=True))
        return Carried(carried.largest, carried.total + mx.sum(weights, axis=-1, keepdims=True), carried.weighted + weights @ values)

    return _tiled(queries, keys, values, scale, query_block, key_block, step=step)


@mutant(TILED, "not_carried")
def starts_anew_in_each_tile(queries, keys, values, *, scale, query_block=32, key_block=64):
    return _tiled(queries, keys, values, scale, query_block, key_block, anew=True)


@mutant(TILED, "whole_matrix")
def one_softmax(queries, keys, values, *, scale, query_block=32, key_block=64):
    return mx.softmax(queries * scale @ keys.T, axis=-1) @ values


@rival(TILED)
def one_query_at_a_time(queries, keys, values, *, scale, query_block=32, key_block=64):
    return _tiled(queries, keys, values, scale, 1 if queries.shape[0] < 100 else query_block, key_block)


@rival(TILED)
def mlx_in_blocks_of_queries(queries, keys, values, *, scale, query_block=32, key_block=64):
    out = []
    for q in range(0, queries.shape[0], query_block):
        out.append(mx.softmax(queries[q : q + query_block] * scale @ keys.T, axis=-1) @ values)
        mx.eval(out[-1])
    return mx.concatenate(out)
