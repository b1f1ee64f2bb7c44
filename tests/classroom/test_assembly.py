"""The learner's parts in one engine: chosen, checked again, and blamed by name."""

import asyncio

import pytest
from llm.tiny import tiny_config, write_checkpoint

from course_lib.classroom.assembly import BrokenPart, PartFailed, assemble, choose
from course_lib.classroom.assembly.race import words
from course_lib.classroom.assembly.slots import CACHES, SLOTS
from course_lib.classroom.author.build import lessons
from course_lib.classroom.author.solved import write_solved_store
from course_lib.classroom.exercise import get_exercise
from course_lib.engine import AsyncEngine, Engine, EngineConfig
from course_lib.engine.cache_room import bytes_a_token
from course_lib.llm import load

PROMPTS = [[5, 9, 77, 130], [5, 9, 77, 130, 12], [40, 41, 42, 43, 44, 45, 46]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(write_checkpoint(tmp_path_factory.mktemp("models") / "tiny", tiny_config(), bits=4))


@pytest.fixture
def solved(own_store):
    """A store with all Python answers kept. (The native ones take a minute to compile.)"""
    write_solved_store(own_store, lessons())
    for path in (own_store / "answers").glob("*.cpp"):
        path.unlink()
    for path in (own_store / "answers").glob("*.metal"):
        path.unlink()
    return own_store / "answers"


def said(engine, **options):
    requests = [engine.add(prompt, max_tokens=9, stop_tokens=(), **options) for prompt in PROMPTS]
    engine.run()
    return [request.generated for request in requests]


def test_every_slot_names_exercises_that_exist():
    for slot in SLOTS:
        for id in (*slot.answers, *slot.slow, *slot.with_it):
            assert choose._rung(id) or get_exercise(id)


def test_with_nothing_kept_the_engine_is_the_references_and_says_so(own_store, folder):
    assembly = assemble(model=folder)
    assert assembly.yours == []
    assert "not there yet: chunked_prefill.schedule, build_your_own_vllm.make_room, " in "\n".join(words(assembly, None))
    assert said(assembly.engine()) == said(Engine(*load(folder)))


@pytest.mark.parametrize("cache", CACHES)
def test_with_all_kept_every_part_is_yours_and_the_text_is_the_references(solved, folder, cache):
    assembly = assemble(model=folder, cache=cache)
    native = {"attention", "linear"}
    assert {part.slot.name for part in assembly.parts if not part.is_yours} == native
    assert all(part.checks for part in assembly.yours)
    reference = Engine(*load(folder))
    assert said(assembly.engine()) == said(reference)
    assert said(assembly.engine(), temperature=0.9, top_p=0.7, seed=3) == said(
        Engine(*load(folder)), temperature=0.9, top_p=0.7, seed=3
    )


def test_in_a_pool_that_is_too_small_the_learners_parts_preempt_and_lose_nothing(solved, folder):
    assembly = assemble(model=folder)
    size = 5 * 4 * bytes_a_token(assembly.model)
    engine = assembly.engine(EngineConfig(max_num_seqs=3, block_size=4, kv_cache_memory_bytes=size))
    requests = [engine.add(prompt, max_tokens=8, stop_tokens=()) for prompt in PROMPTS]
    engine.run()
    assert sum(request.metrics.num_preemptions for request in requests) > 0
    reference = Engine(*load(folder))
    assert [request.generated for request in requests] == [tokens[:8] for tokens in said(reference)]
    assert engine.cache_bytes == 0


def test_parts_that_leave_their_arrays_unevaluated_run_in_the_servers_thread(solved, folder):
    async def one():
        async with AsyncEngine(assemble(model=folder).engine()) as engine:
            return [output.token async for output in engine.generate(PROMPTS[0], max_tokens=3, stop_tokens=())]

    assert len(asyncio.run(one())) == 3


def test_prefix_caching_can_be_switched_off_in_the_learners_books(solved, folder):
    assembly = assemble(model=folder)
    found = []
    for caching in (True, False):
        engine = assembly.engine(EngineConfig(block_size=2, enable_prefix_caching=caching))
        engine.generate([PROMPTS[0]], max_tokens=2)
        request = engine.add(PROMPTS[1], max_tokens=2)
        engine.run()
        found.append(request.metrics.num_cached_tokens)
    assert found == [4, 0]


def test_an_answer_that_runs_no_longer_is_named_and_the_reference_stands_in_only_if_asked(solved, folder):
    (solved / "paged_kv_cache.pool.py").write_text("import a_package_that_is_gone")
    with pytest.raises(BrokenPart, match=r"(?s)paged_kv_cache.pool.*a_package_that_is_gone.*reference=\[\"pool\"\]"):
        assemble(model=folder)
    pool = next(part for part in assemble(model=folder, reference=["pool"]).parts if part.slot.name == "pool")
    assert not pool.is_yours and pool.note == "as you asked"


def test_an_answer_that_is_not_right_any_more_is_named_with_its_case(solved, folder):
    (solved / "chunked_prefill.schedule.py").write_text("def schedule_chunked(waiting, running, limits):\n    return []")
    with pytest.raises(BrokenPart, match=r"(?s)chunked_prefill.schedule is not right any more \(case.*notebook chunked_prefill"):
        assemble(model=folder)


RAISES = """
def make_room(work, running, cache):
    if work and hasattr(work[0][0], "metrics"):  # an engine's request, not the check's
        raise KeyError("lost")
"""


def test_a_part_that_breaks_a_step_is_named_with_its_line(solved, folder):
    path = solved / "build_your_own_vllm.make_room.py"
    head, _, body = path.read_text().partition("    counts = ")
    assert body
    path.write_text(head + RAISES.split(":\n", 1)[1] + "    counts = " + body)
    engine = assemble(model=folder).engine()
    request = engine.add(PROMPTS[0], max_tokens=3)
    with pytest.raises(PartFailed, match=r"(?s)make_room \(build_your_own_vllm.make_room\).*KeyError: 'lost'.*raise KeyError.*reference=\[\"make_room\"\]"):
        engine.run()
    assert request.finish_reason == "error" and engine.cache_bytes == 0


def test_a_schedule_that_cannot_be_followed_is_named(solved, folder):
    path = solved / "chunked_prefill.schedule.py"
    path.write_text(
        path.read_text() + "\n_right = schedule_chunked\ndef schedule_chunked(waiting, running, limits):\n"
        "    engines = hasattr((*waiting, *running)[0], 'metrics')\n"
        "    return [] if engines else _right(waiting, running, limits)\n"
    )
    engine = assemble(model=folder).engine()
    engine.add(PROMPTS[0], max_tokens=3)
    with pytest.raises(PartFailed, match=r"(?s)Your schedule \(chunked_prefill.schedule\).*no work"):
        engine.run()


def test_an_error_outside_of_all_parts_says_so(own_store, folder):
    engine = assemble(model=folder).engine(schedule=lambda *given: 1 / 0)
    engine.add(PROMPTS[0], max_tokens=3)
    with pytest.raises(PartFailed, match="(?s)outside of your parts' own code. ZeroDivisionError.*Yours are: none"):
        engine.run()


def test_python_that_is_far_slower_stays_out_unless_wanted(solved, folder):
    without = next(part for part in assemble(model=folder).parts if part.slot.name == "attention")
    assert not without.is_yours and "slow=True" in without.note
    assembly = assemble(model=folder, slow=True)
    inside = next(part for part in assembly.parts if part.slot.name == "attention")
    assert inside.id == "flash_attention.flash_attention" and "far slower" in inside.note
    assert said(assembly.engine()) == said(Engine(*load(folder)))


def test_what_is_kept_and_has_no_place_is_counted(solved, folder):
    text = "\n".join(words(assemble(model=folder), None))
    assert "4 of quantization" not in text and "of quantization" in text and "without a place" in text


def test_a_wrong_place_or_cache_lists_what_there_is(own_store, folder):
    with pytest.raises(ValueError, match="schedule"):
        assemble(model=folder, reference=["scheduler"])
    with pytest.raises(ValueError, match="'blocks', 'rows', 'requests'"):
        assemble(model=folder, cache="pages")
