"""Wrong and right answers to the exercises of notebook 09, a module an exercise."""

from . import affinity, room, router, served_in_time, stops

__all__ = ["affinity", "room", "router", "served_in_time", "stops"]
