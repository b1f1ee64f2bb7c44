"""Wrong and right answers to the exercises of notebook 08, a module a group of exercises."""

from . import allocator, attending, block_size, forking, pool, prefixes, sharing, table

__all__ = ["allocator", "attending", "block_size", "forking", "pool", "prefixes", "sharing", "table"]
