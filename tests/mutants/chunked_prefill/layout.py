"""A step's tokens in one line."""

from .. import mutant, rival

LAY_OUT = "chunked_prefill.lay_out"


def _lay(work, *, at=lambda r, start: r.num_computed_tokens, take=None, ends=None, point=None):
    tokens, positions, last, sampled = [], [], [], []
    for request, count in work:
        held = at(request, len(tokens))
        tokens += take(request, count) if take else request.next_tokens(count)
        positions += range(held, held + count)
        if ends(request, count) if ends else count == request.num_new_tokens:
            last.append(point(request, count, tokens) if point else len(tokens) - 1)
            sampled.append(request)
    return tokens, positions, last, sampled


@mutant(LAY_OUT, "early")
def lay_out_samples_everybody(work):
    return _lay(work, ends=lambda r, n: True)


@mutant(LAY_OUT, "early")
def lay_out_samples_first_chunks(work):
    return _lay(work, ends=lambda r, n: n == r.num_new_tokens or r.num_computed_tokens == 0 or r.num_new_tokens > 1)


@mutant(LAY_OUT, "restart")
def lay_out_restarts(work):
    return _lay(work, at=lambda r, start: 0)


@mutant(LAY_OUT, "in_step")
def lay_out_counts_the_step(work):
    return _lay(work, at=lambda r, start: start)


@mutant(LAY_OUT, "same_tokens")
def lay_out_first_tokens(work):
    return _lay(work, take=lambda r, n: [*r.prompt, *r.generated][:n])


@mutant(LAY_OUT, "all_tokens")
def lay_out_takes_all(work):
    return _lay(work, take=lambda r, n: r.next_tokens(r.num_new_tokens))


@mutant(LAY_OUT, "last_of_request")
def lay_out_own_positions(work):
    return _lay(work, point=lambda r, n, tokens: r.num_computed_tokens + n - 1)


@mutant(LAY_OUT, "off_by_one")
def lay_out_one_behind(work):
    return _lay(work, point=lambda r, n, tokens: len(tokens))


@mutant(LAY_OUT, "advanced")
def lay_out_counts_already(work):
    result = _lay(work)
    for request, count in work:
        request.num_computed_tokens += count
    return result


@mutant(LAY_OUT, None)
def lay_out_forgets_sampled(work):
    return _lay(work)[:3]


@rival(LAY_OUT)
def lay_out_by_flat_list(work):
    flat = [(r, r.num_computed_tokens + i, token) for r, n in work for i, token in enumerate(r.next_tokens(n))]
    last = [
        i for i, (r, position, _) in enumerate(flat) if position + 1 == r.num_computed_tokens + r.num_new_tokens
    ]
    return [token for _, _, token in flat], [p for _, p, _ in flat], last, [flat[i][0] for i in last]
