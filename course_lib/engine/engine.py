"""The engine: many requests, one model, a step at a time.

    engine = Engine(*load("smollm2-135m"))
    request = engine.add("Once upon a time", max_tokens=20)
    while engine.step():
        pass
    print(request.text)

A step admits requests, runs the model once over the new tokens of all of them, chooses a token for each,
and lets go of those that have finished. When the paged cache's blocks run out, the newest request steps back:
it waits again, its blocks go to the older ones, and its tokens are computed again later. What a request says does not depend on who shares its steps: it
samples from its own random stream, and where the model's kernels compute each row by itself
(`course_lib.kernels` do, to the last bit) its logits are those it would have alone.

One thread runs an engine: MLX evaluates an array only in the thread that made it. `AsyncEngine` is the
front for many callers.
"""

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import mlx.core as mx

from course_lib.engine.cache_room import fitted
from course_lib.engine.cache_room import make_cache as cache_of
from course_lib.engine.config import EngineConfig
from course_lib.engine.metrics import EngineMetrics, RequestMetrics, StepRecord
from course_lib.engine.request import FinishReason, Request, RequestOutput
from course_lib.engine.step import Step
from course_lib.engine.text_stream import TextStream
from course_lib.llm.model import Model
from course_lib.llm.prompt import Prompt, encode_prompt
from course_lib.llm.sampling import Sampler, SamplingParams
from course_lib.techniques.making_room import make_room
from course_lib.techniques.paged_kv import BlockManager, PagedKVCache
from course_lib.techniques.scheduling import Work, schedule_chunked, schedule_continuous
from course_lib.techniques.stop_strings import StopStrings


class EngineClosed(RuntimeError):
    """The engine was closed and takes no more requests."""


class Engine:
    """Serves requests from one model.

    Args:
        model, tokenizer: as `load` returns them.
        config: its limits, and its cache.
        schedule: what a step works on, one of `techniques.scheduling` or your own; by default
            `schedule_chunked` where the config has a budget of tokens, else `schedule_continuous`.
        make_layer: makes one layer of the contiguous cache; by default a `BatchedKVCache`.
        make_manager, make_pool: make the books of the paged cache and one layer's pool; by default those of
            `techniques.paged_kv`.
        make_cache: makes a whole cache of another kind, such as `SeparateCaches`, from the fitted config and the
            model; None for the one that the config asks for.
        make_room: finds room for a step's tokens, `techniques.making_room.make_room` or your own.
        make_stops: makes what watches for a request's stop strings, by default `techniques.stop_strings.StopStrings`.
        make_sampler: makes what chooses a request's tokens, where its temperature is above 0.
        clock: the time in seconds; a test's own, or a simulation's.

    Raises:
        ValueError: the config's bytes are too few for a single request.

    Attributes:
        config (EngineConfig): as given, with limits that fit the model and the cache.
        metrics (EngineMetrics): what all requests together have done.
        running, waiting: the requests in work, and those that are not yet.
    """

    def __init__(
        self,
        model: Model,
        tokenizer: Any,
        config: EngineConfig | None = None,
        *,
        schedule: Callable[..., list[Work]] | None = None,
        make_layer: Callable[[], Any] | None = None,
        make_manager: Callable[..., Any] = BlockManager,
        make_pool: Callable[..., Any] = PagedKVCache,
        make_cache: Callable[[EngineConfig, Model], Any] | None = None,
        make_room: Callable[..., tuple] = make_room,
        make_stops: Callable[..., Any] = StopStrings,
        make_sampler: Callable[[SamplingParams], Sampler] = Sampler,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.config = fitted(config or EngineConfig(), model)
        self.model, self.tokenizer = model, tokenizer
        self.clock = clock
        self.metrics = EngineMetrics(self.config.max_num_seqs, self.config.step_history)
        self.running: list[Request] = []
        self.waiting: deque[Request] = deque()
        budget = self.config.max_num_batched_tokens or self.config.long_prefill_token_threshold
        self._schedule = schedule or (schedule_chunked if budget else schedule_continuous)
        parts = (make_layer, make_manager, make_pool)
        self._empty_cache = lambda: (
            make_cache(self.config, model) if make_cache else cache_of(self.config, model, *parts)
        )
        self._find_room, self._make_stops, self._make_sampler = make_room, make_stops, make_sampler
        self._cache = self._empty_cache()
        self._ids = itertools.count()
        self._closed = False

    # --- requests ------------------------------------------------------------------------------------

    def add(self, prompt: Prompt, **options: Any) -> Request:
        """Take a request: `make_request`, then `submit`."""
        return self.submit(self.make_request(prompt, **options))

    def make_request(
        self,
        prompt: Prompt,
        *,
        max_tokens: int = 256,
        stop: str | Sequence[str] = (),
        stop_tokens: Iterable[int] | None = None,
        arrival_time: float | None = None,
        on_output: Callable[[RequestOutput], Any] | None = None,
        **sampling: Any,
    ) -> Request:
        """Check what is asked, and make the request. Any thread may call this.

        Args:
            prompt: text, messages or token ids, as for `generate`.
            max_tokens: most tokens to generate, a stop token included. Fewer if the context fills up.
            stop: strings that end the text where they come up; they are not part of it.
            stop_tokens: ids that end it; None for the model's own, () for none.
            arrival_time: by the engine's clock; None for now. Later: it waits until then.
            on_output: called with each `RequestOutput` of this request.
            **sampling: temperature, top_p, min_p, seed.

        Raises:
            ValueError: an empty prompt, one that leaves no room for an answer or has ids outside the
                vocabulary; max_tokens below 1; an empty stop string; unknown or bad sampling parameters.
            EngineClosed: after `close`.
        """
        if self._closed:
            raise EngineClosed("this engine is closed and takes no more requests; make a new one")
        if type(max_tokens) is not int or max_tokens < 1:
            raise ValueError(f"max_tokens={max_tokens!r}; wanted an integer, at least 1")
        stop = (stop,) if isinstance(stop, str) else tuple(stop)
        if not all(isinstance(text, str) and text for text in stop):
            raise ValueError(f"stop={list(stop)!r}; wanted strings of at least one character")
        if on_output is not None and not callable(on_output):
            raise ValueError(f"on_output={on_output!r}; wanted a function of one RequestOutput")
        params = SamplingParams.from_options(sampling)
        ids = encode_prompt(self.tokenizer, prompt, self.model.config)
        if len(ids) >= self.config.max_model_len:
            raise ValueError(
                f"the prompt has {len(ids)} tokens; this engine takes {self.config.max_model_len} for prompt and "
                "answer together (max_model_len); shorten the prompt"
            )
        return Request(
            id=next(self._ids),
            prompt=ids,
            max_tokens=min(max_tokens, self.config.max_model_len - len(ids)),
            sampling=params,
            stop_tokens=frozenset(self.tokenizer.eos_token_ids if stop_tokens is None else stop_tokens),
            stream=TextStream(self.tokenizer, stop, self._make_stops),
            metrics=RequestMetrics(self.clock() if arrival_time is None else arrival_time),
            on_output=on_output,
            make_sampler=self._make_sampler,
        )

    def submit(self, request: Request) -> Request:
        """Put a request behind those that came before it, by arrival time.

        Raises:
            EngineClosed: after `close`.
        """
        if self._closed:
            raise EngineClosed("this engine is closed and takes no more requests; make a new one")
        place = len(self.waiting)
        while place and self.waiting[place - 1].metrics.arrival_time > request.metrics.arrival_time:
            place -= 1
        self.waiting.insert(place, request)
        return request

    def cancel(self, request: Request) -> bool:
        """End a request now, waiting or running. Returns False if it has ended already.

        Its text up to here stays readable; it gets a last output with finish_reason "cancelled".
        """
        if request.finished:
            return False
        self._report(RequestOutput(request, request.stream.finish(), None, "cancelled"))
        return True

    def close(self) -> None:
        """Cancel all that is left, give the cache back, and take no more requests."""
        self._closed = True
        for request in [*self.running, *self.waiting]:
            self.cancel(request)

    # --- work ----------------------------------------------------------------------------------------

    @property
    def has_unfinished(self) -> bool:
        return bool(self.running or self.waiting)

    @property
    def next_arrival(self) -> float | None:
        """When the next waiting request comes, by the clock; None if none waits."""
        return self.waiting[0].metrics.arrival_time if self.waiting else None

    @property
    def cache_bytes(self) -> int:
        """Bytes of the cache that requests use. Returns to 0 when all have ended."""
        return self._cache.nbytes_used

    def blocks_of(self, request: Request) -> list[int]:
        """Numbers of the paged cache's blocks that hold a request's tokens; none for another cache."""
        return self._cache.blocks_of(request) if self.config.block_size else []

    def step(self) -> list[RequestOutput]:
        """Run the model once. Returns what came of it: an output for each request that got a token.

        Nothing is done while nobody runs and nobody has arrived. (A step that only read pieces of
        prompts returns an empty list, too: ask `has_unfinished`.)

        Raises:
            Exception: whatever the schedule or a part of the model raised. All requests that run or have
                arrived end with finish_reason "error"; those that come later are served.
        """
        start = self.clock()
        arrived = [r for r in self.waiting if r.metrics.arrival_time <= start]
        if not (self.running or arrived):
            return []
        try:
            work = self._schedule(arrived, self.running, self.config)
            self._check(work, arrived)
            work, num_preempted = self._make_room(work, start)
            step = self._cache.prepare(work)
            tokens = self._choose(step)
        except Exception as error:
            self._fail(error, arrived)
            raise
        for request, count in work:
            request.num_computed_tokens += count
        now = self.clock()
        outputs = []
        for request, token in zip(step.sampled, tokens, strict=True):
            request.metrics.token_times.append(now)
            outputs.append(request.take(token))
        # The last row first: a row that leaves is filled with the last one, and so nothing moves where many leave.
        for output in reversed(outputs):
            self._report(output, now)
        self.metrics.count_step(
            StepRecord(
                start=start,
                seconds=now - start,
                work=tuple((request.id, count) for request, count in work),
                num_generated=len(tokens),
                num_waiting=sum(r.metrics.arrival_time <= start for r in self.waiting),
                num_preempted=num_preempted,
                cache_bytes=self.cache_bytes,
            )
        )
        return outputs

    def run(self, sleep: Callable[[float], Any] = time.sleep) -> None:
        """Step until every request has ended, sleeping until the next one arrives where none is there."""
        while self.has_unfinished:
            if not self.running and (wait := self.next_arrival - self.clock()) > 0:
                sleep(wait)
            self.step()

    def generate(self, prompts: Iterable[Prompt], **options: Any) -> list[str]:
        """The texts for some prompts, in their order. Options and errors as for `make_request`."""
        requests = [self.make_request(prompt, **options) for prompt in prompts]
        for request in requests:
            self.submit(request)
        self.run()
        for request in requests:
            if request.error:
                raise request.error
        return [request.text for request in requests]

    # --- the parts of a step -------------------------------------------------------------------------

    def _check(self, work: Sequence[Work], arrived: Sequence[Request]) -> None:
        """A schedule may be a learner's: what it returns must be possible."""
        running = {id(request) for request in self.running}
        known = running.union(map(id, arrived))
        chosen = [id(request) for request, _ in work]
        joining = sum(one not in running for one in chosen)
        wrong = None
        if not work:
            wrong = "no work, though requests are there"
        elif len(set(chosen)) < len(chosen):
            wrong = "the same request twice"
        elif not known.issuperset(chosen):
            wrong = "a request that neither runs nor has arrived"
        elif len(self.running) + joining > self.config.max_num_seqs:
            wrong = f"{len(self.running) + joining} requests, with max_num_seqs={self.config.max_num_seqs}"
        elif bad := [n for request, n in work if not 1 <= n <= request.num_new_tokens]:
            wrong = f"{bad[0]} tokens of a request that has fewer, or less than one"
        if wrong:
            raise ValueError(f"the schedule returned {wrong}")

    def _make_room(self, work: Sequence[Work], now: float) -> tuple[list[Work], int]:
        """Room in the cache for the step's tokens: who joins is admitted, who must step back waits again.

        Returns:
            What the step really works on, and how many requests were preempted.
        """
        fitting, preempted = self._find_room(work, list(self.running), self._cache)
        for request in preempted:  # the newest first: the oldest of them will be the first to join again
            self.running.remove(request)
            self.waiting.appendleft(request)
            request.num_computed_tokens = 0
            request.metrics.num_preemptions += 1
        for request, _ in fitting:
            if request in self.running:
                continue
            self.waiting.remove(request)
            self.running.append(request)
            if request.metrics.scheduled_time is None:
                request.metrics.scheduled_time = now
                request.metrics.num_cached_tokens = request.num_computed_tokens
        if not fitting:
            raise ValueError("no request found room, though one that runs alone always does")
        return fitting, len(preempted)

    def _choose(self, step: Step) -> list[int]:
        """Run the model, and choose a token for each request that gets one."""
        # Of a step that reads only pieces of prompts nobody wants logits; MLX's CUDA backend refuses none at all.
        logits = self.model(step.tokens, step.layers, rows=step.last or [0])[:, 0]  # [P, V]
        if not step.sampled:
            mx.eval(logits)
            return []
        greedy = mx.argmax(logits, axis=-1)
        drawn = {
            row: request.sampler(logits[row : row + 1])
            for row, request in enumerate(step.sampled)
            if request.sampling.temperature > 0
        }
        mx.eval(greedy, *drawn.values())
        tokens = greedy.tolist()
        for row, token in drawn.items():
            tokens[row] = token.item()
        return tokens

    def _report(self, output: RequestOutput, now: float | None = None) -> None:
        """Tell whoever listens, and let go of a request that has ended."""
        request = output.request
        if output.finish_reason:
            self._end(request, output.finish_reason, now)
        if request.on_output:
            try:
                request.on_output(output)
            except Exception as error:  # a listener's fault is its own request's alone
                request.error = error
                if not request.finished:
                    self._end(request, "error", now)

    def _end(self, request: Request, reason: FinishReason, now: float | None = None) -> None:
        request.finish_reason = reason
        request.metrics.finish_time = self.clock() if now is None else now
        self.metrics.count_end(reason)
        if request in self.running:
            self.running.remove(request)
            self._cache.leave(request)
        elif request in self.waiting:
            self.waiting.remove(request)

    def _fail(self, error: Exception, arrived: Sequence[Request]) -> None:
        """A step broke off: some layers have taken up its tokens, some not, so nobody's cache is whole.

        Who waits ends, too: the next step might break off in the same way, for ever.
        """
        failed, self.running = {*self.running, *arrived}, []
        self._cache = self._empty_cache()
        for request in sorted(failed, key=lambda r: r.id):
            request.error = error
            self._report(RequestOutput(request, request.stream.finish(), None, "error"))
