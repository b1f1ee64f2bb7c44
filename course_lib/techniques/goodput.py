"""Goodput: what was served in time.

Throughput counts every request, however late. A service has promised something: a first token within so
many seconds, and a pace from there on. Goodput counts the requests for which both promises were kept.

Sources: DistServe, https://arxiv.org/abs/2401.09670, section 1; the time a token is meant as in vLLM's benchmark,
https://github.com/vllm-project/vllm/blob/main/vllm/benchmarks/serve.py
"""

from collections.abc import Sequence
from typing import Any


def goodput(requests: Sequence[Any], ttft_goal: float, tpot_goal: float) -> float:
    """Requests a second that kept both promises.

    Args:
        requests: each with `arrival_time`, `token_times` and `finish_time`, in seconds, and at least one of them.
            One without tokens (it failed, or its client left) kept no promise.
        ttft_goal: most seconds from the arrival to the first token.
        tpot_goal: most seconds a token after the first, on average (time per output token).

    Returns:
        Their number over the time from the first arrival to the last end.
    """
    good = 0
    for request in requests:
        times = request.token_times
        if not times or times[0] - request.arrival_time > ttft_goal:
            continue
        good += times[-1] - times[0] <= tpot_goal * (len(times) - 1)
    begin = min(request.arrival_time for request in requests)
    return good / (max(request.finish_time for request in requests) - begin)
