"""The front for many callers: an engine in a thread of its own, and coroutines that wait for its tokens.

    async with AsyncEngine(Engine(model, tokenizer)) as engine:
        async for output in engine.generate("Once upon a time", max_tokens=20):
            print(output.text, end="")

The two threads meet twice a step. The engine's takes the orders that callers left (submit, cancel); when the
step is done, the callers' is handed all its outputs at once.
"""

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

from course_lib.engine.engine import Engine, EngineClosed
from course_lib.engine.request import Request, RequestOutput
from course_lib.llm.prompt import Prompt

logger = logging.getLogger(__name__)
T = TypeVar("T")


class AsyncEngine:
    """Runs an engine's steps in a thread, from `start` to `close`, for the coroutines of one event loop.

    Only that thread touches the engine. Others leave it orders, which it carries out between two steps.

    Args:
        engine: not to be used by anyone else from here on.

    Attributes:
        num_open (int): requests that somebody listens to.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.num_open = 0
        self._orders: deque[Callable[[], Any]] = deque()
        self._news: list[tuple[Callable[[Any], Any], Any]] = []  # (listener, what it is to hear), of this step
        self._wake = threading.Event()
        self._closing = False
        self._takes_orders = False
        self._lock = threading.Lock()  # no order slips in behind the thread's last look
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)

    async def __aenter__(self) -> "AsyncEngine":
        self.start()
        return self

    async def __aexit__(self, *exception: Any) -> None:
        await self.close()

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs and takes requests."""
        return self._takes_orders and not self._closing

    def start(self) -> None:
        """Begin to work. May be called once, in the event loop whose coroutines will listen."""
        self._loop = asyncio.get_running_loop()
        self._takes_orders = True
        self._thread.start()

    def generate(self, prompt: Prompt, **options: Any) -> AsyncIterator[RequestOutput]:
        """A request's outputs as they come; the last one has a finish_reason.

        The request is checked here and now, and begins when the first output is asked for. A caller that stops
        listening (closes the iterator, is cancelled) cancels it. What goes wrong while it runs is raised by
        the iteration.

        Args:
            prompt, **options: as for `Engine.make_request`.

        Raises:
            ValueError, EngineClosed: as `Engine.make_request`.
        """
        return self.listen([self.engine.make_request(prompt, **options)])

    async def listen(self, requests: Sequence[Request]) -> AsyncIterator[RequestOutput]:
        """The outputs of several requests as they come, until each has had its last.

        They begin when the first output is asked for. A caller that stops listening cancels them all, and so
        does an error of one of them, which is raised here.

        Args:
            requests: made by this engine's `make_request` (any thread may do that), not submitted yet.

        Raises:
            EngineClosed: the engine is closing.
            Exception: what ended a request.
        """
        outputs: asyncio.Queue[RequestOutput | Exception] = asyncio.Queue()

        def tell(output: RequestOutput | Exception) -> None:
            self._news.append((outputs.put_nowait, output))

        for request in requests:
            assert request.on_output is None, "its outputs are listened to here"
            request.on_output = tell
        self.num_open += len(requests)
        left = len(requests)
        try:
            self._order(lambda: self._submit(requests, tell))
            while left:
                output = await outputs.get()
                if isinstance(output, Exception):
                    raise output
                if output.finish_reason == "error":
                    raise output.request.error
                if output.finish_reason:
                    left -= 1
                    self.num_open -= 1
                yield output
        finally:
            self.num_open -= left
            if any(not request.finished for request in requests):
                with contextlib.suppress(EngineClosed):  # which cancels all
                    self._order(lambda: [self.engine.cancel(request) for request in requests])

    async def ask(self, question: Callable[[Engine], T]) -> T:
        """Ask the engine something between two steps, such as how full its cache is.

        Raises:
            EngineClosed: the engine is closing, and nobody is there to answer.
        """
        answer: concurrent.futures.Future[T] = concurrent.futures.Future()

        def put() -> None:
            if not answer.set_running_or_notify_cancel():
                return
            try:
                answer.set_result(question(self.engine))
            except Exception as error:
                answer.set_exception(error)

        self._order(put)
        return await asyncio.wrap_future(answer)

    async def close(self, finish: bool = False) -> None:
        """Take no more requests and end the thread.

        Args:
            finish: first finish what was begun; otherwise it is cancelled.
        """
        self._closing = True
        if self._thread.is_alive():
            with contextlib.suppress(EngineClosed):
                self._order(lambda: finish or self.engine.close())
            await asyncio.to_thread(self._thread.join)
        else:
            self.engine.close()

    def _order(self, order: Callable[[], Any]) -> None:
        with self._lock:
            if not self._takes_orders:
                raise EngineClosed("this engine does not run: it was never started, or it is closed")
            self._orders.append(order)
        self._wake.set()

    # --- the engine's thread -------------------------------------------------------------------------

    def _work(self) -> None:
        engine = self.engine
        try:
            while True:
                self._wake.clear()
                self._carry_out_orders()
                if engine.running or (engine.waiting and engine.next_arrival <= engine.clock()):
                    try:
                        engine.step()
                    except Exception:
                        # Its requests have been told; the others go on.
                        logger.exception("a step of the engine failed")
                    self._hand_over()
                elif self._closing and not engine.waiting and not self._orders:
                    break
                else:
                    self._wake.wait(engine.next_arrival - engine.clock() if engine.waiting else None)
        finally:  # whatever happened, nobody is left listening to nothing
            with self._lock:
                self._takes_orders = False
            engine.close()
            self._carry_out_orders()

    def _carry_out_orders(self) -> None:
        while self._orders:
            try:
                self._orders.popleft()()
            except Exception:
                logger.exception("the engine could not do what it was told")
        self._hand_over()

    def _submit(self, requests: Sequence[Request], tell: Callable[[Exception], None]) -> None:
        try:
            if self._closing:
                raise EngineClosed("this engine is closing and takes no more requests")
            for request in requests:
                self.engine.submit(request)
        except EngineClosed as error:
            tell(error)

    def _hand_over(self) -> None:
        """What the engine said goes to those who listen, in one go: waking the other thread takes longer than a queue."""
        if self._news:
            news, self._news = self._news, []
            with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody listens
                self._loop.call_soon_threadsafe(_tell, news)


def _tell(news: Sequence[tuple[Callable[[Any], Any], Any]]) -> None:
    for listener, said in news:
        listener(said)
