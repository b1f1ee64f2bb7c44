"""Gaps between tokens: what counts, and that the figures draw it."""

import numpy as np
import pytest
from engine.conftest import Clock
from llm.tiny import tiny_config, write_checkpoint

from course_lib.engine import Engine, EngineConfig, RequestMetrics
from course_lib.lab.serving import Ask, Served, simulate
from course_lib.lab.stalls import first_token, gaps, longest_gap, prompts_arrive, token_gaps, trade_off
from course_lib.llm import load
from course_lib.techniques.scheduling import Limits, schedule_chunked, schedule_continuous


def served(schedule, **limits):
    """Two streams, then a prompt of 40. A step takes 10 ms and 1 ms a token."""
    asks = [Ask([1], 30), Ask([1], 30), Ask([2] * 40, 3, arrival_time=0.05)]
    return simulate(asks, schedule, Limits(**limits), lambda tokens: 0.010 + 0.001 * tokens)


def test_a_whole_prompt_is_one_long_gap_and_chunks_are_short_ones():
    whole, chunked = served(schedule_continuous), served(schedule_chunked, max_num_batched_tokens=12)
    assert longest_gap(whole, 2) == pytest.approx(0.010 + 0.042)
    assert longest_gap(chunked, 2) == pytest.approx(0.010 + 0.012)
    assert first_token(chunked, 2) > first_token(whole, 2)


def test_a_gap_counts_if_it_ends_after_the_prompt_came():
    streams = [RequestMetrics(0.0, 0.0, times, times[-1]) for times in ([1, 4, 5, 6.5], [1, 4.25, 4.75, 6])]
    run = Served([*streams, RequestMetrics(5.5, 5.5, [7.0], 7.0)], [], [])
    when, gap = gaps(run, 2)
    assert when.tolist() == [-1.5, -0.5, 1, -1.25, -0.75, 0.5]
    assert gap.tolist() == [3, 1, 1.5, 3.25, 0.5, 1.25]
    assert longest_gap(run, 2) == 1.5
    assert first_token(run, 2) == 1.5


def test_prompts_arrive_while_streams_run(tmp_path):
    model, tokenizer = load(write_checkpoint(tmp_path / "tiny", tiny_config()))
    clock = Clock()
    engine = Engine(model, tokenizer, EngineConfig(max_num_seqs=3, max_num_batched_tokens=8), clock=clock)
    real_step = engine.step

    def step():
        clock.now += 1
        return real_step()

    engine.step = step
    run = prompts_arrive(engine, [Ask([5, 6], 12), Ask([7], 12)], [Ask([9] * 14, 2)], after=4)
    assert [r.arrival_time for r in run.requests] == [-4, -4, 0]
    assert run.requests[2].time_to_first_token == 3  # 6 tokens beside two that decode, 6, 2
    assert [n for number, n in sum((s.work for s in run.steps), ()) if number == 2][:3] == [6, 6, 2]
    assert [len(tokens) for tokens in run.generated] == [12, 12, 2]
    assert [step.start for step in run.steps][:5] == [-3, -2, -1, 0, 1]


def test_the_figures_draw_every_token_and_every_setting():
    runs = {"whole": served(schedule_continuous), "chunks": served(schedule_chunked, max_num_batched_tokens=12)}
    figure = token_gaps(runs, 2)
    for axis in figure.axes:
        assert len(axis.lines[0].get_xdata()) == 58
    figure = trade_off({name: [run] * 3 for name, run in runs.items()}, 2)
    drawn = np.array(figure.axes[0].lines[0].get_data()).T
    assert drawn[0, 0] > drawn[1, 0] and drawn[0, 1] < drawn[1, 1]
