"""The front: many callers at once, each hears its own, and those who leave are forgotten."""

import asyncio
import contextlib
import threading

import pytest
from engine.lone import lone_tokens

from course_lib.engine import AsyncEngine, Engine, EngineClosed, EngineConfig

PROMPT = [5, 9, 77, 130]


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 60))


async def tokens(front, prompt, **options):
    return [output.token async for output in front.generate(prompt, stop_tokens=(), **options)]


def test_many_callers_each_hear_their_own(tiny):
    async def main():
        async with AsyncEngine(Engine(tiny.model, tiny.tokenizer, EngineConfig(max_num_seqs=3))) as front:
            return await asyncio.gather(*(tokens(front, [20 + i, 7], max_tokens=3 + i) for i in range(8)))

    for i, said in enumerate(run(main())):
        assert said == lone_tokens(tiny.model, [20 + i, 7], 3 + i)


class Held(Engine):
    """An engine whose next step waits until it may."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.may_step = threading.Event()
        self.may_step.set()

    def step(self):
        self.may_step.wait()
        return super().step()


def test_who_stops_listening_frees_the_row(tiny):
    async def main():
        engine = Held(tiny.model, tiny.tokenizer)
        async with AsyncEngine(engine) as front:
            outputs = front.generate(PROMPT, max_tokens=100, stop_tokens=())
            async for _ in outputs:
                engine.may_step.clear()
                break
            await outputs.aclose()
            task = asyncio.create_task(tokens(front, PROMPT, max_tokens=100))
            await asyncio.sleep(0)  # it asks, and waits for its first token
            task.cancel()
            await asyncio.sleep(0)  # it hears of it
            engine.may_step.set()
            said = await tokens(front, PROMPT, max_tokens=4)
            while engine.has_unfinished:
                await asyncio.sleep(0.01)
            return said, dict(engine.metrics.num_finished), engine.cache_bytes

    said, finished, cache_bytes = run(main())
    assert said == lone_tokens(tiny.model, PROMPT, 4)
    assert finished == {"cancelled": 2, "length": 1} and cache_bytes == 0


def test_bad_requests_and_closed_engines_raise_where_they_are_called(tiny):
    async def main():
        front = AsyncEngine(Engine(tiny.model, tiny.tokenizer))
        front.start()
        with pytest.raises(ValueError, match="the prompt is empty"):
            await tokens(front, "")
        with pytest.raises(ValueError, match="max_tokens=0"):
            await tokens(front, PROMPT, max_tokens=0)
        await front.close()
        with pytest.raises(EngineClosed):
            await tokens(front, PROMPT)

    run(main())


def test_closing_cancels_or_finishes(tiny):
    async def main(finish):
        front = AsyncEngine(Engine(tiny.model, tiny.tokenizer))
        front.start()
        task = asyncio.create_task(reasons(front))
        while not front.engine.metrics.num_generated:
            await asyncio.sleep(0.005)
        await front.close(finish)
        return await task

    async def reasons(front):
        return [o.finish_reason async for o in front.generate(PROMPT, max_tokens=60, stop_tokens=())]

    assert run(main(finish=False))[-1] == "cancelled"
    assert run(main(finish=True)) == [None] * 59 + ["length"]


def test_a_failing_step_reaches_its_callers_and_the_next_go_on(tiny, caplog):
    broken = [True]

    class Failing(Engine):
        def _choose(self, step):
            if broken[0]:
                raise FloatingPointError("a part failed")
            return super()._choose(step)

    async def main():
        async with AsyncEngine(Failing(tiny.model, tiny.tokenizer)) as front:
            with pytest.raises(FloatingPointError):
                await tokens(front, PROMPT, max_tokens=3)
            broken[0] = False
            return await tokens(front, PROMPT, max_tokens=3)

    assert run(main()) == lone_tokens(tiny.model, PROMPT, 3)
    assert "a step of the engine failed" in caplog.text


def test_several_requests_are_heard_together_and_given_up_together(tiny):
    async def main():
        async with AsyncEngine(Engine(tiny.model, tiny.tokenizer)) as front:
            made = [front.engine.make_request([20 + i], max_tokens=2 + i, stop_tokens=()) for i in range(3)]
            heard = {request.id: [] for request in made}
            async for output in front.listen(made):
                heard[output.request.id].append(output.token)
            assert front.num_open == 0
            for i, request in enumerate(made):
                assert heard[request.id] == lone_tokens(tiny.model, [20 + i], 2 + i)
            made = [front.engine.make_request([20 + i], max_tokens=100, stop_tokens=()) for i in range(3)]
            async with contextlib.aclosing(front.listen(made)) as outputs:
                await anext(outputs)
            assert front.num_open == 0
            await front.ask(lambda engine: None)
            return [request.finish_reason for request in made]

    assert run(main()) == ["cancelled"] * 3


def test_questions_are_answered_between_two_steps(tiny):
    async def main():
        async with AsyncEngine(Engine(tiny.model, tiny.tokenizer)) as front:
            thread = await front.ask(lambda engine: threading.current_thread().name)
            assert await front.ask(lambda engine: engine is front.engine)
            with pytest.raises(ZeroDivisionError):
                await front.ask(lambda engine: 1 / 0)
        with pytest.raises(EngineClosed, match="does not run"):
            await front.ask(lambda engine: 1)
        return thread

    assert run(main()) == "engine"


def test_an_order_that_fails_is_logged_and_the_others_go_on(tiny, caplog):
    class Stubborn(Engine):
        def cancel(self, request):
            raise LookupError("a cache of somebody's own lost it")

    async def main():
        front = AsyncEngine(Stubborn(tiny.model, tiny.tokenizer))
        front.start()
        async with contextlib.aclosing(front.generate(PROMPT, max_tokens=30, stop_tokens=())) as outputs:
            await anext(outputs)
        said = await tokens(front, PROMPT, max_tokens=3)
        await front.close(finish=True)
        return said

    assert run(main()) == lone_tokens(tiny.model, PROMPT, 3)
    assert "could not do what it was told" in caplog.text


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_engine_whose_thread_ends_leaves_nobody_waiting(tiny):
    class Dying(Engine):
        def step(self):
            raise SystemExit

    async def main():
        front = AsyncEngine(Dying(tiny.model, tiny.tokenizer))
        front.start()
        reasons = [output.finish_reason async for output in front.generate(PROMPT)]
        with pytest.raises(EngineClosed):
            await tokens(front, PROMPT)
        assert not front.is_alive
        await front.close()
        return reasons

    assert run(main()) == ["cancelled"]


def test_an_engine_that_was_never_started_says_so(tiny):
    async def main():
        front = AsyncEngine(Engine(tiny.model, tiny.tokenizer))
        with pytest.raises(EngineClosed, match="never started"):
            await tokens(front, PROMPT)
        assert front.num_open == 0
        await front.close()

    run(main())
