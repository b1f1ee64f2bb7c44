"""Wrong and right versions of native kernels, as changes of the reference's text.

`native_mutant("quantized_matmul.threads", mistake, (old, new), ...)`: the solved file with `old` replaced by `new`
is wrong, and the panel shows that mistake's hint (None: rejected, without a hint of its own). `native_rival`: it is
right.
"""

from dataclasses import dataclass

Change = tuple[str, str]


@dataclass(frozen=True)
class NativeMutant:
    rung: str
    mistake: str | None
    changes: tuple[Change, ...]
    name: str = ""

    def __str__(self):
        return f"{self.rung}-{self.name or self.mistake}"

    def apply(self, text: str) -> str:
        for old, new in self.changes:
            assert text.count(old) == 1, f"{self}: {old!r} is there {text.count(old)} times"
            text = text.replace(old, new)
        return text


@dataclass(frozen=True)
class NativeRival(NativeMutant):
    """A right version."""


NATIVE_MUTANTS: list[NativeMutant] = []
NATIVE_RIVALS: list[NativeRival] = []


def native_mutant(rung: str, mistake: str | None, *changes: Change, name: str = "") -> None:
    NATIVE_MUTANTS.append(NativeMutant(rung, mistake, changes, name))


def native_rival(rung: str, *changes: Change, name: str) -> None:
    NATIVE_RIVALS.append(NativeRival(rung, None, changes, name))
