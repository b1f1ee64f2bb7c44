"""Labels stay as near as possible to what they name, and never cover each other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_lib.lab.labels import spread_out

NEAR = dict(rel=1e-6, abs=1e-6)


def test_labels_with_room_stay_where_they_are():
    assert spread_out([0, 50, 100], gap=10) == [0, 50, 100]


def test_two_labels_in_one_place_move_apart_evenly():
    assert spread_out([10, 10], gap=10) == [5, 15]


def test_order_of_arguments_is_kept():
    assert spread_out([100, 0], gap=10) == [100, 0]


def test_wide_labels_need_more_room():
    assert spread_out([0, 10], gap=2, sizes=[20, 20]) == [-6, 16]


def test_a_block_that_grows_into_its_neighbour_takes_it_along():
    # 0 and 1 move apart to -4.5 and 5.5, which reaches the label at 12.
    assert spread_out([0, 1, 12], gap=10) == pytest.approx([-17 / 3, 13 / 3, 43 / 3])


def test_a_block_that_two_newcomers_form_takes_an_earlier_label_along():
    # 10 and 10.1 move apart to 5.05 and 15.05, which reaches the label at 0.
    assert spread_out([0, 10, 10.1], gap=10) == pytest.approx([-3.3, 6.7, 16.7])


@given(
    st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(0, 80)), min_size=1, max_size=12),
    st.floats(0.5, 30),
)
def test_no_two_labels_overlap_and_their_order_stays(labels, gap):
    wanted, sizes = [at for at, _ in labels], [size for _, size in labels]
    found = spread_out(wanted, gap, sizes)
    order = sorted(range(len(found)), key=lambda i: found[i])
    for a, b in zip(order, order[1:], strict=False):
        assert wanted[a] <= wanted[b]
        assert found[b] - found[a] >= (sizes[a] + sizes[b]) / 2 + gap - 1e-6
    # Pushed both ways alike: on the whole the labels have not moved.
    assert sum(found) == pytest.approx(sum(wanted), **NEAR)
