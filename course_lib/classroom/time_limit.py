"""Stop an answer that loops for ever, and leave the notebook's kernel alive."""

import signal
import threading
from contextlib import contextmanager


class TimeLimitExceeded(BaseException):
    """The answer ran longer than its check allows.

    Not an `Exception`, so that a learner's own `except Exception:` does not swallow it.
    """


@contextmanager
def time_limit(seconds: float):
    """Raise TimeLimitExceeded in the block after `seconds`.

    It rings an alarm (POSIX), which reaches Python code in the main thread, where a notebook runs its cells;
    in another thread the block runs without a limit. A long call inside native code is interrupted when that
    call returns. The alarm rings again every second, for answers with a bare `except:` in their loop.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(signum, frame):
        raise TimeLimitExceeded

    previous_handler = signal.signal(signal.SIGALRM, ring)
    previous_timer = signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *previous_timer)
        signal.signal(signal.SIGALRM, previous_handler)
