"""Wrong and right answers to the exercises of notebook 07, a module an exercise."""

from . import latency, layer, layout, memory, planner, prompt, ragged

__all__ = ["latency", "layer", "layout", "memory", "planner", "prompt", "ragged"]
