"""Run the server, until it is told to stop."""

import uvicorn

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
    grace: int = 10,
) -> None:
    """Serve an engine over HTTP. Returns after SIGTERM or SIGINT.

    Args:
        host: where to listen; by default only this machine can reach it.
        grace: seconds that requests under way get to finish after the signal. Then they are cancelled.
    """
    app = make_app(engine, model_name, limits)
    config = uvicorn.Config(
        app, host=host, port=port, timeout_graceful_shutdown=grace, log_level="warning", access_log=False
    )
    server = uvicorn.Server(config)
    print(f"Serving {model_name} on http://{host}:{port}/v1 (Ctrl-C stops it)", flush=True)
    server.run()


def serve_model(name: str, config: EngineConfig, **options) -> None:
    """Load a model and serve it. Options as for `serve`.

    Raises:
        ModelUnavailable, ValueError: as `load`.
    """
    from course_lib.llm import load

    model, tokenizer = load(name)
    serve(Engine(model, tokenizer, config), name, **options)
