"""Room in a real paged cache: whoever is in the step has it, the oldest always goes on, nothing leaks."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from course_lib.techniques.making_room import make_room
from course_lib.techniques.paged_kv import BlockManager, OutOfBlocks
from course_lib.techniques.scheduling import Limits, schedule_chunked


@dataclass(eq=False)
class Asked:
    """A request: tokens to read, then tokens to write, one a step."""

    prompt: list
    answer: int
    written: int = 0
    computed: int = 0
    table: object = field(default=None, repr=False)

    @property
    def num_new_tokens(self):
        return len(self.prompt) + self.written - self.computed


class Blocks:
    """The engine's paged cache without keys and values."""

    def __init__(self, num_blocks, block_size):
        self.manager = BlockManager(num_blocks, block_size)

    def join(self, request, count):
        request.table = self.manager.new_table([*request.prompt, *[1] * request.written])
        request.computed = request.table.num_tokens
        if self.reserve(request, min(count, request.num_new_tokens)):
            return True
        self.leave(request)
        request.computed = 0
        return False

    def reserve(self, request, count):
        try:
            self.manager.append(request.table, count)
        except OutOfBlocks:
            return False
        self.manager.remember(request.table, [*request.prompt, *[1] * request.written])
        return True

    def leave(self, request):
        self.manager.free(request.table)


wish = st.tuples(st.integers(1, 12), st.integers(1, 12))


@given(st.lists(wish, min_size=1, max_size=6), st.integers(1, 4), st.integers(3, 12))
def test_everybody_is_served_in_a_pool_that_holds_one_and_no_block_is_lost(wishes, block_size, budget):
    most = max(-(-(prompt + answer) // block_size) for prompt, answer in wishes)
    cache, limits = Blocks(most, block_size), Limits(3, budget)
    waiting, running, ended = [Asked([1] * prompt, answer) for prompt, answer in wishes], [], []
    arrived = list(waiting)
    for _ in range(2_000):
        if not (waiting or running):
            break
        work = schedule_chunked(waiting, running, limits)
        before = list(running)
        fits, preempted = make_room(work, running, cache)
        assert running == before and fits
        for request in preempted:
            running.remove(request)
            waiting.insert(0, request)
            request.computed = 0
        for request, count in fits:
            assert request not in preempted and 1 <= count <= request.num_new_tokens
            if request not in running:
                assert not preempted and waiting.pop(0) is request  # in order
                running.append(request)
            whole = count == request.num_new_tokens
            request.computed += count
            assert request.table.num_tokens == request.computed
            request.written += whole
        if before and before[0] in [request for request, _ in work]:
            assert before[0] in [request for request, _ in fits]  # the oldest always goes on
        for request in [r for r in running if r.written == r.answer]:
            running.remove(request)
            cache.leave(request)
            ended.append(request)
    assert sorted(map(id, ended)) == sorted(map(id, arrived))
    assert cache.manager.allocator.num_free == most
