"""The scheduler's step."""

from collections import deque

from course_lib.techniques.scheduling import Work

from .. import mutant, rival

SCHEDULE = "continuous_batching.schedule"


def _all(requests):
    return [Work(r, r.num_new_tokens) for r in requests]


@mutant(SCHEDULE, "static")
def static(waiting, running, limits):
    return _all(running or waiting[: limits.max_num_seqs])


@mutant(SCHEDULE, "overfull")
def no_limit(waiting, running, limits):
    return _all([*running, *waiting])


@mutant(SCHEDULE, "overfull")
def limit_for_the_new_alone(waiting, running, limits):
    return _all([*running, *waiting[: limits.max_num_seqs]])


@mutant(SCHEDULE, "running_left_out")
def new_ones_only(waiting, running, limits):
    room = limits.max_num_seqs - len(running)
    return _all(waiting[:room] or running)


@mutant(SCHEDULE, "one_token")
def one_token_each(waiting, running, limits):
    return [Work(r, 1) for r in [*running, *waiting[: limits.max_num_seqs - len(running)]]]


@mutant(SCHEDULE, "whole_text")
def everything_again(waiting, running, limits):
    room = limits.max_num_seqs - len(running)
    return [Work(r, r.num_new_tokens + 3) for r in running] + _all(waiting[:room])


@mutant(SCHEDULE, "newest_first")
def newest_first(waiting, running, limits):
    room = limits.max_num_seqs - len(running)
    return _all([*running, *waiting[::-1][:room]])


@mutant(SCHEDULE, "one_at_a_time")
def one_joins(waiting, running, limits):
    return _all([*running, *waiting[: min(1, limits.max_num_seqs - len(running))]])


@mutant(SCHEDULE, "changes_lists")
def moves_requests(waiting, running, limits):
    while waiting and len(running) < limits.max_num_seqs:
        running.append(waiting.pop(0))
    return _all(running)


@mutant(SCHEDULE, "not_work")
def pairs(waiting, running, limits):
    return [(r, r.num_new_tokens) for r in [*running, *waiting[: limits.max_num_seqs - len(running)]]]


@mutant(SCHEDULE, "not_work")
def forgets_to_return(waiting, running, limits):
    _all([*running, *waiting])


@mutant(SCHEDULE, "waiting_first")
def who_waits_goes_first(waiting, running, limits):
    return _all([*waiting, *running][: limits.max_num_seqs])


@rival(SCHEDULE)
def prompts_first(waiting, running, limits):
    """In another order: what is in the step counts, not where."""
    queue, work = deque(waiting), [Work(r, r.num_new_tokens) for r in reversed(running)]
    while queue and len(work) < limits.max_num_seqs:
        request = queue.popleft()
        work.insert(0, Work(request, request.num_new_tokens))
    return work
