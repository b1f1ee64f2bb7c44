"""Roofline and perplexity."""

import mlx.core as mx
import numpy as np
import pytest

from course_lib.lab.perplexity import perplexity
from course_lib.lab.roofline import attainable, matmul_intensity, roofline
from course_lib.lab.wonderland import WONDERLAND


def test_left_of_the_ridge_bandwidth_decides_right_of_it_arithmetic():
    assert attainable(2, compute=100, bandwidth=10) == 20
    assert attainable(50, compute=100, bandwidth=10) == 100


def test_a_weight_is_read_once_and_used_twice_a_token():
    assert matmul_intensity(1, 32) == 0.5  # two operations for four bytes
    assert matmul_intensity(8, 4) == 32


def test_the_roof_is_nowhere_below_what_was_reached():
    figure = roofline({"a": (100.0, 8e9)}, compute=5e9, bandwidth=1e9)
    roof = figure.axes[0].lines[0].get_ydata()
    assert roof.max() == pytest.approx(8)


def test_a_model_that_knows_nothing_wavers_between_all_tokens():
    assert perplexity(lambda ids: mx.zeros((1, ids.shape[1], 50)), [1, 2, 3, 4]) == pytest.approx(50, rel=1e-5)


def test_perplexity_is_of_the_next_token():
    tokens = [3, 1, 4, 1, 5]
    certain = lambda ids: mx.array(np.eye(10, dtype=np.float32)[tokens[1:]])[None] * 20  # noqa: E731
    assert perplexity(certain, tokens) == pytest.approx(1, rel=1e-3)
    with pytest.raises(ValueError, match="at least 2 tokens"):
        perplexity(certain, [1])


def test_the_text_is_plain():
    assert WONDERLAND.isascii() and WONDERLAND.startswith("Alice was beginning") and len(WONDERLAND.split()) > 500
