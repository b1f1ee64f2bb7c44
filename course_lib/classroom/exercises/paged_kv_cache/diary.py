"""What was done to an answer so far, so that a learner can follow how it came to a wrong state."""


class Diary:
    """Operations as text, the newest last."""

    def __init__(self, shown: int = 6):
        self.entries: list[str] = []
        self.shown = shown

    def add(self, entry: str) -> None:
        self.entries.append(entry)

    def after(self, what: str) -> str:
        """`what`, below the operations that led there."""
        if not self.entries:
            return what
        newest = self.entries[-self.shown :]
        left_out = len(self.entries) - len(newest)
        lines = [f"  ... {left_out} operations, then" if left_out else "After", *(f"  {e}" for e in newest)]
        return "\n".join([*lines, what])
