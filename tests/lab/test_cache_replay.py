"""Loads played on block managers: what is reserved, what is used, and everything comes back."""

import numpy as np

from course_lib.lab.cache_replay import at_once, replay, skewed_load
from course_lib.lab.serving import Ask
from course_lib.techniques.paged_kv import BlockManager


def test_a_load_is_seeded_and_within_its_limits():
    load = skewed_load(200, typical=30, longest=80, shared=5, seed=3)
    assert load == skewed_load(200, typical=30, longest=80, shared=5, seed=3)
    assert load != skewed_load(200, typical=30, longest=80, shared=5, seed=4)
    assert all(ask.prompt[:5] == (1, 2, 3, 4, 5) for ask in load)
    sizes = np.array([(len(ask.prompt) - 5, ask.max_tokens) for ask in load])
    assert sizes.min() >= 1 and sizes.sum(1).max() <= 80
    assert 20 < np.median(sizes[:, 0]) < 45
    arrivals = [ask.arrival_time for ask in load]
    assert arrivals == sorted(arrivals) and at_once(load)[7].prompt == load[7].prompt


def test_one_request_by_hand():
    load = [Ask((1, 2, 3), 2)]
    rows = replay(load, BlockManager(2, 8, prefix_caching=False))
    assert (rows.reserved.tolist(), rows.used.tolist(), rows.running.tolist()) == ([8, 8], [3, 4], [1, 1])
    blocks = replay(load, BlockManager(8, 2, prefix_caching=False))
    assert (blocks.reserved.tolist(), blocks.used.tolist()) == ([4, 4], [3, 4])
    assert blocks.computed == rows.computed == 4 and blocks.preemptions == 0
    assert rows.waste == 1 - 7 / 16


def test_a_shared_block_counts_once_and_is_computed_once():
    load = [Ask((1, 2, 3, 4, 5), 1), Ask((1, 2, 3, 4, 6), 1)]
    shared = replay(load, BlockManager(8, 2))
    assert (shared.reserved.tolist(), shared.used.tolist()) == ([8], [6])
    assert shared.computed == 6
    assert replay(load, BlockManager(8, 2, prefix_caching=False)).computed == 10


def test_when_blocks_run_out_the_newest_steps_back_and_all_are_done():
    load = at_once(skewed_load(20, typical=10, longest=40))
    manager = BlockManager(24, 2, prefix_caching=False)
    tight = replay(load, manager)
    roomy = replay(load, BlockManager(600, 2, prefix_caching=False))
    assert tight.preemptions > 0 == roomy.preemptions
    assert tight.computed > roomy.computed == sum(len(a.prompt) + a.max_tokens - 1 for a in load)
    assert tight.reserved.max() <= 48
    assert manager.allocator.num_free == 24
    for run in (tight, roomy):
        assert (run.used <= run.reserved).all() and (run.running >= 1).all()


def test_who_comes_later_waits():
    run = replay([Ask((1,), 1), Ask((2,), 1, arrival_time=3.0)], BlockManager(4, 2))
    assert run.running.tolist() == [1, 0, 0, 1]
