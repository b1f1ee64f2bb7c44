"""Wrong and right answers to the exercises of notebook 06, a module a group of exercises."""

from . import loop, order, padding, rows, schedule, waste

__all__ = ["loop", "order", "padding", "rows", "schedule", "waste"]
