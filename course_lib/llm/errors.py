"""The one error of this package that is not about a wrong argument."""


class ModelUnavailable(RuntimeError):
    """A model cannot be had here and now. The message says why, what is available, and what to do."""
