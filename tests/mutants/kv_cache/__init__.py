"""Wrong and right answers to the exercises of notebook 01, a module a group of exercises."""

from . import attending, growing, layer, phases, reserving, rewinding, window

__all__ = ["attending", "growing", "layer", "phases", "reserving", "rewinding", "window"]
