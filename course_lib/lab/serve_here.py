"""An HTTP server in a thread of this process, for as long as a notebook needs it."""

import socket
import threading
import time
from typing import Any

import uvicorn


class ServeHere:
    """Serves an ASGI application on a free port of this machine alone.

        with ServeHere(make_app(engine, "mine")) as server:
            httpx.get(f"{server.url}/health")

    In a notebook, where one cell starts it and others talk to it, call `stop` at the end.

    Attributes:
        url (str): "http://127.0.0.1:PORT".
    """

    def __init__(self, app: Any, timeout: float = 30) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)
        self._thread.start()
        end = time.monotonic() + timeout
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > end:
                raise RuntimeError("the server did not start; its own words are above")
            time.sleep(0.01)

    def stop(self) -> None:
        """End it; requests under way are cancelled. More calls do nothing."""
        self._server.should_exit = True
        self._thread.join(15)
        self._socket.close()

    def __enter__(self) -> "ServeHere":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.stop()
