"""Exercises of notebook 08, in the notebook's order."""

# isort: off
from .allocator import allocator
from .table import block_table
from .pool import pool
from .attending import paged_attention
from .prefixes import prefix_cache
from .sharing import sharing
from .forking import fork
from .block_size import block_size

__all__ = [
    "allocator", "block_table", "pool", "paged_attention", "prefix_cache", "sharing", "fork", "block_size",
]  # fmt: skip
