"""The serving engine: many requests share one model.

`Engine` is synchronous, a step at a time; `AsyncEngine` is the front for many callers.
"""

from course_lib.engine.async_engine import AsyncEngine
from course_lib.engine.config import EngineConfig
from course_lib.engine.engine import Engine, EngineClosed
from course_lib.engine.metrics import EngineMetrics, RequestMetrics, StepRecord
from course_lib.engine.request import Request, RequestOutput

__all__ = [
    "AsyncEngine", "Engine", "EngineClosed", "EngineConfig", "EngineMetrics", "Request", "RequestMetrics",
    "RequestOutput", "StepRecord",
]  # fmt: skip
