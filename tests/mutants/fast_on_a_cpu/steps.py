"""Wrong and right predictions."""

from .. import mutant, rival

STEP = "fast_on_a_cpu.predict_step"


@mutant(STEP, "one_after_the_other")
def adds_up(tokens, weights, weight_bytes, operations, *, bandwidth, rate, overhead):
    return weight_bytes / bandwidth + tokens * weights / rate + operations * overhead


@mutant(STEP, "all_at_once")
def hides_the_overhead(tokens, weights, weight_bytes, operations, *, bandwidth, rate, overhead):
    return max(weight_bytes / bandwidth, tokens * weights / rate, operations * overhead)


@mutant(STEP, "read_for_each")
def reads_for_each(tokens, weights, weight_bytes, operations, *, bandwidth, rate, overhead):
    return max(tokens * weight_bytes / bandwidth, tokens * weights / rate) + operations * overhead


@mutant(STEP, "once_for_all")
def multiplies_once(tokens, weights, weight_bytes, operations, *, bandwidth, rate, overhead):
    return max(weight_bytes / bandwidth, weights / rate) + operations * overhead


@mutant(STEP, "overhead_a_token")
def pays_for_each(tokens, weights, weight_bytes, operations, *, bandwidth, rate, overhead):
    return max(weight_bytes / bandwidth, tokens * weights / rate) + tokens * operations * overhead


@mutant(STEP, None)
def in_milliseconds(tokens, weights, weight_bytes, operations, *, bandwidth, rate, overhead):
    return 1e3 * (max(weight_bytes / bandwidth, tokens * weights / rate) + operations * overhead)


@mutant(STEP, "free")
def operations_are_free(tokens, weights, weight_bytes, operations, *, bandwidth, rate, overhead):
    return max(weight_bytes / bandwidth, tokens * weights / rate)


@rival(STEP)
def where_the_ridge_is(tokens, weights, weight_bytes, operations, *, bandwidth, rate, overhead):
    if tokens * weights * bandwidth < weight_bytes * rate:
        return weight_bytes / bandwidth + operations * overhead
    return tokens * weights / rate + operations * overhead
