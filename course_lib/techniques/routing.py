"""Which copy of the engine serves a request: the router in front of data-parallel replicas.

Each replica has all weights and a cache of its own, so whoever serves the first token serves the rest. Taking
turns ignores that answers differ in length; so the router counts the tokens that each replica has still to do.
`PrefixRouter` also knows what each has read: a request whose beginning lies in a replica's cache is less work there.

vLLM chooses by the requests that wait and run (`DPLBAsyncMPClient` in
https://github.com/vllm-project/vllm/blob/main/vllm/v1/engine/core_client.py); SGLang's router by the longest known
prefix, unless the replicas' loads are too unequal (https://lmsys.org/blog/2024-12-04-sglang-v0-4/).
"""

from collections.abc import Sequence


class Router:
    """Sends each request to the replica that has the fewest tokens left to do.

    Args:
        num_replicas: at least 1.

    Attributes:
        loads (list[int]): tokens that each replica has been given and has not finished.
    """

    def __init__(self, num_replicas: int) -> None:
        if num_replicas < 1:
            raise ValueError(f"num_replicas={num_replicas}; wanted at least 1")
        self.loads = [0] * num_replicas

    def send(self, num_tokens: int) -> int:
        """The replica for a request of so many tokens, prompt and answer; of equals the first."""
        replica = min(range(len(self.loads)), key=self.loads.__getitem__)
        self.loads[replica] += num_tokens
        return replica

    def finished(self, replica: int, num_tokens: int) -> None:
        """A request of so many tokens has ended there."""
        self.loads[replica] -= num_tokens


# Tokens by which a replica may be busier than the idlest and still be chosen for what it knows.
SLACK = 200


def choose_replica(prompt: Sequence[int], known: Sequence[Sequence[Sequence[int]]], loads: Sequence[int]) -> int:
    """The replica where a prompt costs least: what is new to it there, and the work that is before it.

    Args:
        prompt: token ids.
        known: for each replica the prompts that its cache holds.
        loads: for each replica the tokens that it has still to do.

    Returns:
        The number of the replica.
    """

    def found(replica: int) -> int:
        return max((_common(prompt, other) for other in known[replica]), default=0)

    least = min(loads)
    near = [replica for replica, load in enumerate(loads) if load <= least + SLACK]
    return min(near, key=lambda replica: (-found(replica), loads[replica]))


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """Tokens at the beginning that two sequences have in common."""
    length = 0
    for left, right in zip(a, b, strict=False):
        if left != right:
            break
        length += 1
    return length
