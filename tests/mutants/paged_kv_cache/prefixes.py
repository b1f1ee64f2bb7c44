"""The prefix cache."""

import hashlib
import itertools

from .. import mutant, rival

PREFIXES = "paged_kv_cache.prefix_cache"


class _Prefixes:
    """Right in itself; mutants change one method."""

    EMPTY = 0

    def __init__(self):
        self.known, self.keys, self.counter = {}, {}, itertools.count(1)

    def key(self, before, tokens):
        return before, tuple(tokens)

    def name(self):
        return next(self.counter)

    def __contains__(self, block):
        return block in self.keys

    def find(self, before, tokens):
        return self.known.get(self.key(before, tokens))

    def add(self, before, tokens, block):
        key = self.key(before, tokens)
        if key in self.known:
            return self.known[key][1]
        self.forget(block)
        name = self.name()
        self.known[key], self.keys[block] = (block, name), key
        return name

    def forget(self, block):
        key = self.keys.pop(block, None)
        if key is not None:
            del self.known[key]


@mutant(PREFIXES, "not_found")
class FindsNothing(_Prefixes):
    def find(self, before, tokens):
        return None


@mutant(PREFIXES, "no_chain")
class TokensAlone(_Prefixes):
    def key(self, before, tokens):
        return tuple(tokens)


@mutant(PREFIXES, "no_chain")
class EmptyOrNot(_Prefixes):
    def key(self, before, tokens):
        return before != self.EMPTY, tuple(tokens)


@mutant(PREFIXES, "hash_trusted")
class TrustsHashes(_Prefixes):
    def key(self, before, tokens):
        return hash((before, tuple(tokens)))


@mutant(PREFIXES, "stale")
class ForgetsHalf(_Prefixes):
    def forget(self, block):
        self.keys.pop(block, None)


@mutant(PREFIXES, "stale")
class NeverForgets(_Prefixes):
    def forget(self, block):
        pass


@mutant(PREFIXES, "name_reused")
class CountsWhatIsThere(_Prefixes):
    def name(self):
        return len(self.known) + 1


@mutant(PREFIXES, "name_reused")
class NamesAreBlocks(_Prefixes):
    """A block's number comes up again, with other tokens in it."""

    def add(self, before, tokens, block):
        key = self.key(before, tokens)
        if key in self.known:
            return self.known[key][1]
        self.forget(block)
        self.known[key], self.keys[block] = (block, block + 1), key
        return block + 1


@mutant(PREFIXES, "replaced")
class LastOneCounts(_Prefixes):
    def add(self, before, tokens, block):
        key = self.key(before, tokens)
        name = self.known[key][1] if key in self.known else self.name()
        if key in self.known:
            self.known[key] = (block, name)
            return name
        self.forget(block)
        self.known[key], self.keys[block] = (block, name), key
        return name


@mutant(PREFIXES, "second_name")
class NamesTwice(_Prefixes):
    def add(self, before, tokens, block):
        first = self.find(before, tokens)
        super().add(before, tokens, block)
        return self.name() if first else self.find(before, tokens)[1]


@mutant(PREFIXES, "second_known")
class SecondKnown(_Prefixes):
    def add(self, before, tokens, block):
        name = super().add(before, tokens, block)
        self.keys.setdefault(block, self.key(before, tokens))
        return name

    def forget(self, block):
        key = self.keys.pop(block, None)
        if key in self.known and self.known[key][0] == block:
            del self.known[key]


@mutant(PREFIXES, "not_contained")
class ContainsNothing(_Prefixes):
    def __contains__(self, block):
        return False


@mutant(PREFIXES, "list_key")
class ListKeys(_Prefixes):
    def key(self, before, tokens):
        return before, tokens


@mutant(PREFIXES, "forget_unknown")
class ForgetRaises(_Prefixes):
    def forget(self, block):
        del self.known[self.keys.pop(block)]

    def add(self, before, tokens, block):
        if block in self.keys and self.keys[block] != self.key(before, tokens):
            self.forget(block)
        self.keys.setdefault(block, None)
        return super().add(before, tokens, block)


@mutant(PREFIXES, None)
class AssertsUnknown(_Prefixes):
    """Ends with an assertion where a block's known beginning was evicted and another took its place."""

    def add(self, before, tokens, block):
        key = self.key(before, tokens)
        if key in self.known:
            return self.known[key][1]
        assert block not in self.keys
        return super().add(before, tokens, block)


@rival(PREFIXES)
class ByWholePaths:
    """A prefix is all of its tokens: long, but it needs no names."""

    EMPTY = ()

    def __init__(self):
        self.of = {}

    def __contains__(self, block):
        return block in self.of

    def _first(self, path):
        return next((b for b, p in self.of.items() if p == path), None)

    def find(self, before, tokens):
        path = (*before, *tokens, "end")
        block = self._first(path)
        return None if block is None else (block, path)

    def add(self, before, tokens, block):
        path = (*before, *tokens, "end")
        if self._first(path) is None:
            self.of[block] = path
        return path

    def forget(self, block):
        self.of.pop(block, None)


@rival(PREFIXES)
class ByDigest:
    """As vLLM does it: a chain of cryptographic hashes."""

    EMPTY = b""

    def __init__(self):
        self.blocks, self.digest_of = {}, {}

    def _digest(self, before, tokens):
        return hashlib.sha256(before + b"|" + ",".join(str(int(x)) for x in tokens).encode()).digest()

    def __contains__(self, block):
        return block in self.digest_of

    def find(self, before, tokens):
        digest = self._digest(before, tokens)
        return (self.blocks[digest], digest) if digest in self.blocks else None

    def add(self, before, tokens, block):
        digest = self._digest(before, tokens)
        if digest not in self.blocks:
            self.forget(block)
            self.blocks[digest], self.digest_of[block] = block, digest
        return digest

    def forget(self, block):
        if block in self.digest_of:
            del self.blocks[self.digest_of.pop(block)]
