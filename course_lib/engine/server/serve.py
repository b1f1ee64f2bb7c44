"""Run the server, until it is told to stop."""

import asyncio
import ipaddress
import socket

import uvicorn

from course_lib.engine.async_engine import AsyncEngine
from course_lib.engine.config import EngineConfig
from course_lib.engine.engine import Engine
from course_lib.engine.server.app import ServerLimits, make_app


def serve(
    engine: Engine,
    model_name: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    limits: ServerLimits | None = None,
    grace: float = 10,
) -> None:
    """Serve an engine over HTTP, until SIGTERM or SIGINT (Ctrl-C).

    After the signal no connection is accepted any more, and what is being answered may finish. Returns after
    SIGINT; SIGTERM ends the process in its own way, with its own exit status.

    Args:
        host: where to listen; by default only this machine can reach it.
        port: 0 takes any free one.
        grace: seconds that requests under way get to finish after the signal. Then they are cancelled, and
            their clients are told.

    Raises:
        OSError: the port is taken, or the host is none of this machine's.
    """
    app = make_app(engine, model_name, limits)
    config = uvicorn.Config(
        app, host=host, port=port, log_level="warning", access_log=False, ws="none",
        # Uvicorn cuts off what is left a little later: cancelled requests have been told by then.
        timeout_graceful_shutdown=int(grace) + 5,
    )  # fmt: skip
    listener = _listener(host, port)
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{listener.getsockname()[1]}/v1"
    print(f"Serving {model_name} on {url} (Ctrl-C stops it)", flush=True)
    if not _is_loopback(host):
        print("Whoever reaches this address can use it: the server asks for no key.", flush=True)
    try:
        Server(config, app.state.engine, grace).run(sockets=[listener])
    except KeyboardInterrupt:  # Ctrl-C, passed on once all is closed
        pass


class Server(uvicorn.Server):
    """Uvicorn's server; at its end, an engine that cancels what does not finish in time."""

    def __init__(self, config: uvicorn.Config, engine: AsyncEngine, grace: float) -> None:
        super().__init__(config)
        self._engine, self._grace = engine, grace

    async def shutdown(self, sockets=None) -> None:
        late = asyncio.create_task(self._close_late())
        try:
            await super().shutdown(sockets)
        finally:
            late.cancel()

    async def _close_late(self) -> None:
        await asyncio.sleep(self._grace)
        await self._engine.close()


def _listener(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OSError(f"cannot listen on {host}, port {port}: {reason}; choose another host or port") from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve_model(name: str, config: EngineConfig, served_name: str | None = None, **options) -> None:
    """Load a model and serve it. Options as for `serve`.

    Args:
        name: a name or folder, as for `load`.
        served_name: what clients call it; None for `name`.

    Raises:
        ModelUnavailable, ValueError: as `load`.
        OSError: as `serve`.
    """
    from course_lib.llm import load

    model, tokenizer = load(name)
    serve(Engine(model, tokenizer, config), served_name or name, **options)
