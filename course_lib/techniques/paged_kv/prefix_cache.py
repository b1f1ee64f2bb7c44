"""Which blocks hold which tokens.

Keys and values depend on a token and on all that come before it, so a block can serve another sequence
only if both agree from the very first token on. A full block is therefore known by its tokens and by the
block before it, which is known by its tokens and the block before that, and so on.

vLLM hashes that chain with SHA-256 (https://docs.vllm.ai/en/latest/design/prefix_caching.html). Here a
dict does it: it finds an entry by the hash of (what came before, these tokens) and then compares the two
themselves, so that prefixes with equal hashes are not taken for each other.
"""

import itertools
from collections.abc import Sequence

Prefix = int  # names everything up to the end of a block; 0 is the empty prefix


class PrefixCache:
    """Full blocks by content."""

    EMPTY: Prefix = 0

    def __init__(self) -> None:
        self._known: dict[tuple[Prefix, tuple[int, ...]], tuple[int, Prefix]] = {}
        self._key_of: dict[int, tuple[Prefix, tuple[int, ...]]] = {}  # by block
        # Never used twice: what continued a prefix that was forgotten must not be taken to continue another.
        self._names = itertools.count(1)

    def __contains__(self, block: int) -> bool:
        """Whether something is known to be in the block."""
        return block in self._key_of

    def find(self, before: Prefix, tokens: Sequence[int]) -> tuple[int, Prefix] | None:
        """The block that holds `tokens` behind `before`, and the name of the prefix that ends with it."""
        return self._known.get((before, tuple(tokens)))

    def add(self, before: Prefix, tokens: Sequence[int], block: int) -> Prefix:
        """Say that `block` holds `tokens` behind `before`.

        Where another block is known to, that one stays.

        Returns:
            The name of the prefix that ends with these tokens.
        """
        key = (before, tuple(tokens))
        if known := self._known.get(key):
            return known[1]
        self.forget(block)  # it may be known behind a beginning that was itself forgotten: nobody finds it there
        prefix = next(self._names)
        self._known[key] = (block, prefix)
        self._key_of[block] = key
        return prefix

    def forget(self, block: int) -> None:
        """The block will be written to."""
        if key := self._key_of.pop(block, None):
            del self._known[key]
