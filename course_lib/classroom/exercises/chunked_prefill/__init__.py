"""Exercises of notebook 07, in the notebook's order."""

# isort: off
from .layer import layer
from .prompt import prefill
from .memory import plan_chunks
from .planner import schedule
from .layout import lay_out
from .ragged import ragged_layer
from .latency import choose_budget

__all__ = ["layer", "prefill", "plan_chunks", "schedule", "lay_out", "ragged_layer", "choose_budget"]
