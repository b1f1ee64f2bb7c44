"""What a step spent its tokens on."""

from matplotlib.patches import Rectangle

from course_lib.lab.serving import Ask, simulate
from course_lib.lab.step_budget import spent, step_budget
from course_lib.techniques.scheduling import Limits, schedule_chunked

ASKS = [Ask([1, 1], 9), Ask([2] * 13, 2, arrival_time=0.25), Ask([3] * 3, 2, arrival_time=0.25)]


def run():
    return simulate(ASKS, schedule_chunked, Limits(max_num_batched_tokens=8), lambda tokens: 0.1).steps


def test_tokens_are_told_apart_also_where_a_chunk_has_one():
    parts = spent(run(), [2, 13, 3])
    assert parts[:3] == [{0: 2}, {None: 1}, {None: 1}]
    assert parts[3:6] == [{None: 1, 1: 7}, {None: 1, 1: 6, 2: 1}, {None: 2, 2: 2}]
    one_at_a_time = simulate([Ask([1] * 3, 2)], schedule_chunked, Limits(1, 1), lambda tokens: 0.1).steps
    assert spent(one_at_a_time, [3]) == [{0: 1}, {0: 1}, {0: 1}, {None: 1}]


def test_the_boxes_have_the_steps_tokens_and_seconds():
    figure = step_budget(run(), [2, 13, 3], budget=8, since=0.25)
    boxes = [p for p in figure.axes[0].patches if isinstance(p, Rectangle)]
    steps = [step for step in run() if step.start >= 0.25]
    assert sum(box.get_height() for box in boxes) == sum(step.num_tokens for step in steps)
    assert max(box.get_y() + box.get_height() for box in boxes) == 8
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == [
        "decode", "prompt 1", "prompt 2", "budget, 8",
    ]  # fmt: skip
