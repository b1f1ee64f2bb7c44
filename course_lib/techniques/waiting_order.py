"""Who of those that wait joins next: the shortest first, and nobody for ever last.

Serving the shortest job first gives the least mean latency, and a long job can wait for ever while short
ones keep coming. Aging lowers a job's key with the time that it has waited.
"""

from collections.abc import Sequence

from course_lib.techniques.serving_loop import Request

# Tokens by which a request gains on the others for each second that it waits.
TOKENS_A_SECOND = 0.5


def order_waiting(waiting: Sequence[Request], now: float) -> list[Request]:
    """The waiting requests, in the order in which they are to join.

    The key is the tokens that are asked for, less what the wait is worth. As all grow older at the same
    pace, a request can be overtaken only by those that come within (its tokens) / TOKENS_A_SECOND: after
    that, they all stand behind it.

    Args:
        waiting: by arrival time; stays as it is.
        now: in seconds, as `arrival_time`.
    """
    return sorted(waiting, key=lambda r: r.max_tokens - TOKENS_A_SECOND * (now - r.arrival_time))
