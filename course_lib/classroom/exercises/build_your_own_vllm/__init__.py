"""Exercises of notebook 09, in the notebook's order."""

# isort: off
from .room import make_room
from .stops import stop_strings
from .served_in_time import goodput
from .router import router
from .affinity import choose_replica

__all__ = ["make_room", "stop_strings", "goodput", "router", "choose_replica"]
