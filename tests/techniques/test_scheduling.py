"""Schedules, on made-up requests: limits hold, nobody starves, first come first served."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_lib.techniques.scheduling import Limits, schedule_chunked, schedule_continuous, schedule_static


@dataclass(eq=False)
class Asked:
    """A request: so many prompt tokens to read, so many tokens to generate."""

    arrival: int
    prompt: int
    answer: int
    computed: int = 0

    @property
    def num_new_tokens(self):
        return max(self.prompt - self.computed, 1)

    @property
    def finished(self):
        return self.computed >= self.prompt + self.answer - 1


def served(schedule, requests, limits, most_steps=10_000):
    """Steps until all have finished; each step as {request: tokens}."""
    running, steps, time = [], [], 0
    left = sorted(requests, key=lambda r: r.arrival)
    while left or running:
        waiting = [r for r in left if r.arrival <= time]
        time += 1
        if not (waiting or running):
            continue
        assert len(steps) < most_steps, "somebody starves"
        work = schedule(waiting, running, limits)
        chosen = {id(request): n for request, n in work}
        assert work and len(chosen) == len(work)
        for request, n in work:
            assert 1 <= n <= request.num_new_tokens
            if request not in running:
                left.remove(request)
                running.append(request)
            request.computed += n
        assert len(running) <= limits.max_num_seqs
        steps.append({request: n for request, n in work})
        running = [r for r in running if not r.finished]
    return steps


asked = st.builds(Asked, st.integers(0, 20), st.integers(1, 40), st.integers(1, 10))
many = st.lists(asked, min_size=1, max_size=12)


@given(many, st.integers(1, 5), st.sampled_from([schedule_static, schedule_continuous]))
def test_whole_prompts(requests, max_num_seqs, schedule):
    steps = served(schedule, requests, Limits(max_num_seqs))
    assert all(r.finished for r in requests)
    for request in requests:
        shares = [step[request] for step in steps if request in step]
        assert shares == [request.prompt] + [1] * (request.answer - 1)  # once begun, in every step
    assert_first_come_first_served(steps, requests)


@given(many, st.integers(1, 5), st.integers(0, 30), st.none() | st.integers(1, 12))
def test_chunks_keep_to_the_budget_and_decoding_never_waits(requests, max_num_seqs, more, most):
    limits = Limits(max_num_seqs, max_num_seqs + more, most)
    steps = served(schedule_chunked, requests, limits)
    assert all(r.finished for r in requests)
    read = dict.fromkeys(requests, 0)
    for step in steps:
        assert sum(step.values()) <= limits.max_num_batched_tokens
        for request in requests:
            decoding = request.prompt <= read[request] < request.prompt + request.answer - 1
            assert not decoding or step.get(request) == 1
            if most and read[request] < request.prompt:
                assert step.get(request, 0) <= most
            read[request] += step.get(request, 0)
    assert_first_come_first_served(steps, requests)


def assert_first_come_first_served(steps, requests):
    first = {r: next(i for i, step in enumerate(steps) if r in step) for r in requests}
    by_arrival = sorted(requests, key=lambda r: r.arrival)
    begun = [first[r] for r in by_arrival]
    assert begun == sorted(begun)


def test_a_static_batch_waits_for_its_last():
    requests = [Asked(0, 3, 2), Asked(0, 3, 5), Asked(0, 3, 1)]
    steps = served(schedule_static, requests, Limits(2))
    assert [len(step) for step in steps] == [2, 2, 1, 1, 1, 1]


def test_a_continuous_batch_refills_at_once():
    requests = [Asked(0, 3, 2), Asked(0, 3, 5), Asked(0, 3, 1)]
    steps = served(schedule_continuous, requests, Limits(2))
    assert [len(step) for step in steps] == [2, 2, 2, 1, 1]


def test_several_prompts_share_a_budget_in_order():
    a, b, c = Asked(0, 6, 1), Asked(0, 6, 1), Asked(0, 6, 1)
    steps = served(schedule_chunked, [a, b, c], Limits(3, 8))
    assert steps == [{a: 6, b: 2}, {b: 4, c: 4}, {c: 2}]


def test_a_long_prompt_leaves_room_for_a_short_one_behind_it():
    long, short = Asked(0, 20, 1), Asked(0, 3, 1)
    steps = served(schedule_chunked, [long, short], Limits(2, 10, 7))
    assert steps[0] == {long: 7, short: 3}


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_num_seqs": 0}, "max_num_seqs=0; wanted an integer, at least 1$"),
        ({"max_num_seqs": True}, "max_num_seqs=True"),
        ({"max_num_batched_tokens": 0}, "max_num_batched_tokens=0; wanted an integer, at least 1, or None"),
        ({"long_prefill_token_threshold": 2.5}, "long_prefill_token_threshold=2.5"),
        ({"max_num_seqs": 8, "max_num_batched_tokens": 7}, "max_num_batched_tokens=7 is below max_num_seqs=8"),
    ],
)
def test_absurd_limits_are_refused(limits, message):
    with pytest.raises(ValueError, match=message):
        Limits(**limits)
