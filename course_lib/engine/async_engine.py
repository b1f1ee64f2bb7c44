"""The front for many callers: an engine in a thread of its own, and coroutines that wait for its tokens.

    async with AsyncEngine(Engine(model, tokenizer)) as engine:
        async for output in engine.generate("Once upon a time", max_tokens=20):
            print(output.text, end="")
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

from course_lib.engine.engine import Engine, EngineClosed
from course_lib.engine.request import Request, RequestOutput
from course_lib.llm.prompt import Prompt

logger = logging.getLogger(__name__)


class AsyncEngine:
    """Runs an engine's steps in a thread, from `start` to `close`.

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
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)

    async def __aenter__(self) -> "AsyncEngine":
        self.start()
        return self

    async def __aexit__(self, *exception: Any) -> None:
        await self.close()

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs and takes requests."""
        return self._thread.is_alive() and not self._closing

    def start(self) -> None:
        """Begin to work. May be called once."""
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
        outputs = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def tell(output: RequestOutput | Exception) -> None:
            loop.call_soon_threadsafe(outputs.put_nowait, output)

        request = self.engine.make_request(prompt, on_output=tell, **options)
        return self._outputs(request, outputs, tell)

    async def _outputs(
        self, request: Request, outputs: asyncio.Queue, tell: Callable
    ) -> AsyncIterator[RequestOutput]:
        self.num_open += 1
        self._order(lambda: self._submit(request, tell))
        try:
            while True:
                output = await outputs.get()
                if isinstance(output, Exception):
                    raise output
                if output.finish_reason == "error":
                    raise request.error
                yield output
                if output.finish_reason:
                    return
        finally:
            self.num_open -= 1
            if not request.finished:
                self._order(lambda: self.engine.cancel(request))

    async def close(self, finish: bool = False) -> None:
        """Take no more requests and end the thread.

        Args:
            finish: first finish what was begun; otherwise it is cancelled.
        """
        self._closing = True
        if not finish:
            self._order(self.engine.close)
        self._wake.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)

    def _submit(self, request: Request, tell: Callable[[Exception], None]) -> None:
        try:
            if self._closing:
                raise EngineClosed("this engine is closing and takes no more requests")
            self.engine.submit(request)
        except EngineClosed as error:
            tell(error)

    def _order(self, order: Callable[[], Any]) -> None:
        self._orders.append(order)
        self._wake.set()

    def _work(self) -> None:
        engine = self.engine
        while True:
            self._wake.clear()
            while self._orders:
                self._orders.popleft()()
            if engine.running or (engine.waiting and engine.next_arrival <= engine.clock()):
                try:
                    engine.step()
                except Exception:
                    # Its requests have been told; the others go on.
                    logger.exception("a step of the engine failed")
            elif self._closing and not engine.waiting and not self._orders:
                break
            else:
                self._wake.wait(engine.next_arrival - engine.clock() if engine.waiting else None)
        engine.close()
