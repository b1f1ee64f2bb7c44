"""The data structures of PagedAttention (Kwon et al., https://arxiv.org/abs/2309.06180).

A contiguous cache reserves for each sequence the room that it may need one day. Here all sequences share a
pool of small blocks, as processes share the pages of a memory: a sequence holds just the blocks that its
tokens fill, and several sequences that begin alike hold the same ones.

- `BlockAllocator`: which blocks are free, and how many owners the others have.
- `BlockTable`: which block holds a sequence's tokens 0..15, which one 16..31, ...
- `PrefixCache`: which full blocks hold which tokens, so that they need not be computed again.
- `BlockManager`: the three together: append, trim, fork (with copy on write), match, free.
- `PagedKVCache`: one layer's keys and values in the pool, written and gathered by slot.

The kernel that walks a block table while it attends, without gathering first, is what vLLM adds.
"""

from course_lib.techniques.paged_kv.block_allocator import BlockAllocator, OutOfBlocks
from course_lib.techniques.paged_kv.block_manager import BlockManager
from course_lib.techniques.paged_kv.block_table import BlockTable
from course_lib.techniques.paged_kv.paged_kv_cache import PagedKVCache
from course_lib.techniques.paged_kv.prefix_cache import PrefixCache

__all__ = ["BlockAllocator", "BlockManager", "BlockTable", "OutOfBlocks", "PagedKVCache", "PrefixCache"]
