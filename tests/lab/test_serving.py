"""Loads are seeded, served in time, and simulated by the same rules."""

import numpy as np
import pytest
from llm.tiny import tiny_config, write_checkpoint

from course_lib.engine import Engine, EngineConfig
from course_lib.lab.serving import (
    Ask, StepCost, arriving, make_load, poisson_arrivals, run_load, says_the_same, shortfall, simulate,
)  # fmt: skip
from course_lib.llm import load
from course_lib.techniques.scheduling import Limits, schedule_continuous, schedule_static


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return load(write_checkpoint(tmp_path_factory.mktemp("models") / "tiny", tiny_config()))


class Clock:
    """A step takes a second: the engine looks at the clock when it begins and when it ends."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def asks(count=6, seed=0):
    return make_load(range(200), count, prompt_lengths=(2, 5), answer_lengths=(1, 6), seed=seed)


def test_a_load_is_seeded_and_keeps_to_its_lengths():
    assert asks() == asks() != asks(seed=1)
    for ask in asks(50):
        assert 2 <= len(ask.prompt) <= 5 and 1 <= ask.max_tokens <= 6
        assert list(ask.prompt) == list(range(ask.prompt[0], ask.prompt[0] + len(ask.prompt)))


def test_arrivals_come_at_the_rate_and_in_order():
    times = poisson_arrivals(4.0, 4000)
    assert (np.diff(times) > 0).all()
    assert 4000 / times[-1] == pytest.approx(4.0, rel=0.1)
    assert np.std(np.diff(times)) == pytest.approx(0.25, rel=0.1)  # exponential: as large as the mean
    assert poisson_arrivals(4.0, 5).tolist() == times[:5].tolist()
    with pytest.raises(ValueError, match="rate=0; wanted requests a second, above 0"):
        poisson_arrivals(0, 3)


@pytest.mark.parametrize("schedule", [schedule_static, schedule_continuous])
def test_the_simulation_runs_the_steps_that_the_engine_runs(tiny, schedule):
    load_ = arriving(asks(9), [0, 0, 0, 1.5, 2.5, 2.6, 9, 30, 30.5])
    clock = Clock()

    class Steady(Engine):
        def _choose(self, step):
            clock.now += 1.0
            return super()._choose(step)

    engine = Steady(*tiny, EngineConfig(max_num_seqs=3), schedule=schedule, clock=clock)
    clock.now = 100.0
    real_sleep, engine_run = clock.sleep, engine.run
    engine.run = lambda: engine_run(sleep=real_sleep)
    served = run_load(engine, load_)
    simulated = simulate(load_, schedule, Limits(3), lambda tokens: 1.0)
    for kind in ("end_to_end_latency", "time_to_first_token", "queue_time"):
        for percentile in (0, 50, 90, 100):
            assert simulated.latency(percentile, kind) == pytest.approx(served.latency(percentile, kind))
    assert [sorted(s.work) for s in simulated.steps] == [sorted(s.work) for s in served.steps]
    assert [s.num_waiting for s in simulated.steps] == [s.num_waiting for s in served.steps]
    assert simulated.tokens_per_second == pytest.approx(served.tokens_per_second)
    assert [len(tokens) for tokens in served.generated] == [ask.max_tokens for ask in load_]


def test_a_load_on_a_used_engine_counts_its_own_steps(tiny):
    engine = Engine(*tiny, EngineConfig(max_num_seqs=2))
    run_load(engine, asks(3))
    served = run_load(engine, [Ask((5, 6), 3)])
    assert [step.work for step in served.steps] == [((0, 2),), ((0, 1),), ((0, 1),)]


def test_the_cost_of_a_step_follows_the_measured_points():
    cost = StepCost({1: 1.0, 4: 2.5, 8: 2.0, 16: 6.0})
    assert [cost(n) for n in (1, 2, 4, 8, 12)] == pytest.approx([1.0, 1.5, 2.5, 2.5, 4.25])
    assert cost(32) == pytest.approx(6.0 + 16 * 5 / 15)
    with pytest.raises(ValueError, match="at least two"):
        StepCost({1: 1.0})


def test_what_a_model_says_alone_falls_short_of_nothing(tiny):
    model, _ = tiny
    engine = Engine(*tiny, EngineConfig(max_num_seqs=2))
    served = run_load(engine, asks(3))
    prompts = [ask.prompt for ask in asks(3)]
    assert says_the_same(model, prompts, served.generated)
    wrong = [list(tokens) for tokens in served.generated]
    wrong[1][0] = (wrong[1][0] + 1) % 200
    assert not says_the_same(model, prompts, wrong)
    assert shortfall(model, prompts[0], []) == 0
