"""Peak memory is what a function needs at its worst moment, and nothing from before."""

import mlx.core as mx

from course_lib.lab.memory import peak_memory

MIB = 2**20


def array_of(size):
    return mx.zeros(size // 4) + 1


def test_an_arrays_own_bytes_are_its_peak():
    peak = peak_memory(lambda: array_of(8 * MIB))
    assert 8 * MIB <= peak < 9 * MIB


def test_temporaries_count_though_only_a_scalar_is_returned():
    def outer():
        column = mx.arange(1024, dtype=mx.float32)[:, None]
        return mx.sum(column * column.T)  # [1024, 1024] in between: 4 MiB

    assert peak_memory(outer) >= 4 * MIB


def test_work_done_one_after_the_other_does_not_add_up():
    def in_turn():
        for _ in range(4):
            mx.eval(array_of(8 * MIB))

    assert peak_memory(in_turn) < 17 * MIB


def test_what_was_there_before_does_not_count():
    earlier = array_of(64 * MIB)
    mx.eval(earlier)
    assert peak_memory(lambda: array_of(2 * MIB)) < 3 * MIB
    # Nor does an earlier, higher peak.
    assert peak_memory(lambda: None) == 0


def test_memory_kept_by_the_cache_does_not_hide_the_peak():
    mx.eval(array_of(32 * MIB))  # freed, but MLX keeps the buffer for the next array
    assert peak_memory(lambda: array_of(32 * MIB)) >= 32 * MIB


def test_nothing_is_left_behind():
    before = mx.get_active_memory()
    peak_memory(lambda: array_of(16 * MIB))
    assert mx.get_active_memory() == before
    assert mx.get_cache_memory() < MIB
