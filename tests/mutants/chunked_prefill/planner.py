"""The step planner."""

from course_lib.techniques.scheduling import Work

from .. import mutant, rival

SCHEDULE = "chunked_prefill.schedule"
HUGE = 10**9


def _plan(
    waiting, running, limits, *, decode_first=True, decode_costs=True, begun_first=True, threshold=True, seats=True,
    flip=None, whole=False, one=False, empty=False, running_counts=True,
):  # fmt: skip
    left, most = limits.max_num_batched_tokens or HUGE, limits.long_prefill_token_threshold or HUGE
    decoding = [r for r in running if r.num_new_tokens == 1]
    begun = [r for r in running if r.num_new_tokens > 1]
    room = limits.max_num_seqs - (len(running) if running_counts else len(decoding))
    joining = list(waiting)[:room] if seats else list(waiting)
    if flip:
        begun, joining = flip(begun), flip(joining)
    line = [*begun, *joining] if begun_first else [*joining, *begun]
    work = []
    if decode_first:
        work = [Work(r, 1) for r in decoding]
        left -= len(work) if decode_costs else 0
    else:
        line = [*line, *decoding]
    for request in line:
        size = min(request.num_new_tokens, left, most if threshold else HUGE)
        if size < (0 if empty else 1) or (whole and size < min(request.num_new_tokens, most)):
            break
        work.append(Work(request, size))
        left -= size
        if one:
            break
    return work


@mutant(SCHEDULE, "over_budget")
def schedule_decodes_for_free(waiting, running, limits):
    return _plan(waiting, running, limits, decode_costs=False)


@mutant(SCHEDULE, "over_budget")
def schedule_budget_for_each(waiting, running, limits):
    full = limits.max_num_batched_tokens or HUGE
    most = min(full, limits.long_prefill_token_threshold or HUGE)
    room = limits.max_num_seqs - len(running)
    return [Work(r, min(r.num_new_tokens, most)) for r in [*running, *waiting[:room]]]


@mutant(SCHEDULE, "starved")
def schedule_prompts_first(waiting, running, limits):
    return _plan(waiting, running, limits, decode_first=False)


@mutant(SCHEDULE, "starved")
def schedule_in_list_order(waiting, running, limits):
    left, most = limits.max_num_batched_tokens or HUGE, limits.long_prefill_token_threshold or HUGE
    work = []
    for request in [*running, *waiting[: limits.max_num_seqs - len(running)]]:
        size = min(request.num_new_tokens, left, most)
        if size:
            work.append(Work(request, size))
            left -= size
    return work


@mutant(SCHEDULE, "whole_prompt")
def schedule_whole_prompts(waiting, running, limits):
    return _plan(waiting, running, limits, whole=True)


@mutant(SCHEDULE, "one_prompt")
def schedule_one_prompt(waiting, running, limits):
    return _plan(waiting, running, limits, one=True)


@mutant(SCHEDULE, "threshold")
def schedule_ignores_threshold(waiting, running, limits):
    return _plan(waiting, running, limits, threshold=False)


@mutant(SCHEDULE, "begun_first")
def schedule_newcomers_first(waiting, running, limits):
    return _plan(waiting, running, limits, begun_first=False)


@mutant(SCHEDULE, "order")
def schedule_shortest_first(waiting, running, limits):
    return _plan(waiting, running, limits, flip=lambda line: sorted(line, key=lambda r: r.num_new_tokens))


@mutant(SCHEDULE, "order")
def schedule_newest_first(waiting, running, limits):
    return _plan(waiting, running, limits, flip=lambda line: line[::-1])


@mutant(SCHEDULE, "seats")
def schedule_no_seats(waiting, running, limits):
    return _plan(waiting, running, limits, seats=False)


@mutant(SCHEDULE, "seats")
def schedule_begun_takes_no_seat(waiting, running, limits):
    return _plan(waiting, running, limits, running_counts=False)


@mutant(SCHEDULE, "empty")
def schedule_empty_pieces(waiting, running, limits):
    return _plan(waiting, running, limits, empty=True)


@mutant(SCHEDULE, "none")
def schedule_calculates_with_none(waiting, running, limits):
    left = limits.max_num_batched_tokens - sum(r.num_new_tokens == 1 for r in running)
    return _plan(waiting, running, limits) if left >= 0 else []


@mutant(SCHEDULE, "not_work")
def schedule_plain_pairs(waiting, running, limits):
    return [tuple(work) for work in _plan(waiting, running, limits)]


@mutant(SCHEDULE, "changed_input")
def schedule_moves_requests(waiting, running, limits):
    work = _plan(waiting, running, limits)
    for request, _ in work:
        if request in waiting:
            waiting.remove(request)
            running.append(request)
    return work


@mutant(SCHEDULE, None)
def schedule_wastes_the_rest(waiting, running, limits):
    return [Work(r, max(1, n - 1) if n > 2 else n) for r, n in _plan(waiting, running, limits)]


@rival(SCHEDULE)
def schedule_token_by_token(waiting, running, limits):
    """Deals out single tokens, decoding last in the list, and knows no `break`."""
    got = {}
    seats = limits.max_num_seqs - len(running)
    line = sorted(running, key=lambda r: r.num_new_tokens > 1) + list(waiting)[:seats]
    budget = float("inf") if limits.max_num_batched_tokens is None else limits.max_num_batched_tokens
    for request in line:
        cap = min(request.num_new_tokens, limits.long_prefill_token_threshold or request.num_new_tokens)
        got[request] = int(min(cap, budget - sum(got.values())))
    return [Work(request, n) for request, n in reversed(got.items()) if n]
