"""How an engine does, in the text format of Prometheus
(https://prometheus.io/docs/instrumenting/exposition_formats/).

What vLLM reports too has its name without the prefix (https://docs.vllm.ai/en/latest/usage/metrics/).
"""

import mlx.core as mx

from course_lib.engine.engine import Engine


def gauges(engine: Engine, num_open: int) -> str:
    """To be called between two steps.

    Args:
        num_open: choices that the server is answering.
    """
    done = engine.metrics
    lines = [
        *_metric("gauge", "num_requests_open", "choices of answers that are not sent yet", num_open),
        *_metric("gauge", "num_requests_running", "requests in work", len(engine.running)),
        *_metric("gauge", "num_requests_waiting", "requests that wait to be", len(engine.waiting)),
        *_metric("gauge", "kv_cache_bytes", "bytes of the KV cache that requests use", engine.cache_bytes),
        *_metric("gauge", "active_memory_bytes", "bytes of all of MLX's arrays", mx.get_active_memory()),
        *_metric("counter", "num_preemptions_total", "times that a request had to step back", done.num_preempted),
        *_metric("counter", "num_steps_total", "steps", done.num_steps),
        *_metric("counter", "num_tokens_total", "tokens through the model", done.num_tokens),
        *_metric("counter", "generation_tokens_total", "tokens generated", done.num_generated),
        *_metric("counter", "busy_seconds_total", "seconds spent in steps", done.busy_seconds),
    ]
    name = "engine_requests_finished_total"
    lines += [f"# HELP {name} requests that ended, by reason", f"# TYPE {name} counter"]
    lines += [f'{name}{{reason="{reason}"}} {count}' for reason, count in sorted(done.num_finished.items())]
    return "\n".join(lines) + "\n"


def _metric(kind: str, name: str, meaning: str, value: float) -> list[str]:
    name = f"engine_{name}"
    return [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}", f"{name} {value}"]
