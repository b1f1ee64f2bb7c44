"""A router that counts tokens."""

from .. import mutant, rival

ROUTER = "build_your_own_vllm.router"


class _Base:
    def __init__(self, num_replicas):
        if num_replicas < 1:
            raise ValueError(f"num_replicas={num_replicas}; wanted at least 1")
        self.loads = [0] * num_replicas

    def send(self, num_tokens):
        replica = self.loads.index(min(self.loads))
        self.loads[replica] += num_tokens
        return replica

    def finished(self, replica, num_tokens):
        self.loads[replica] -= num_tokens


@mutant(ROUTER, "in_turn")
class InTurn(_Base):
    def __init__(self, num_replicas):
        super().__init__(num_replicas)
        self.sent = -1

    def send(self, num_tokens):
        self.sent += 1
        return self.sent % len(self.loads)


@mutant(ROUTER, "counts_requests")
class CountsRequests(_Base):
    def send(self, num_tokens):
        return super().send(1)

    def finished(self, replica, num_tokens):
        super().finished(replica, 1)


@mutant(ROUTER, "always_first")
class ToTheBusiest(_Base):
    def send(self, num_tokens):
        replica = self.loads.index(max(self.loads))
        self.loads[replica] += num_tokens
        return replica


@mutant(ROUTER, "last_of_equals")
class LastOfEquals(_Base):
    def send(self, num_tokens):
        replica = max(r for r, load in enumerate(self.loads) if load == min(self.loads))
        self.loads[replica] += num_tokens
        return replica


@mutant(ROUTER, "never_finished")
class NeverFinished(_Base):
    def finished(self, replica, num_tokens):
        pass


@mutant(ROUTER, "wrong_replica")
class FirstHasFinished(_Base):
    def finished(self, replica, num_tokens):
        self.loads[0] -= num_tokens


@mutant(ROUTER, "forgets_all")
class ForgetsAll(_Base):
    def finished(self, replica, num_tokens):
        self.loads[replica] = 0


@mutant(ROUTER, "always_first")
class CountsWhenItEnds(_Base):
    def send(self, num_tokens):
        return self.loads.index(min(self.loads))


@mutant(ROUTER, "no_error")
class NoError(_Base):
    def __init__(self, num_replicas):
        self.loads = [0] * num_replicas


@mutant(ROUTER, "index")
class CountsFromOne(_Base):
    def send(self, num_tokens):
        return super().send(num_tokens) + 1

    def finished(self, replica, num_tokens):
        super().finished(replica - 1, num_tokens)


@rival(ROUTER)
class ByRequests:
    """Remembers every request instead of sums."""

    def __init__(self, num_replicas):
        if not num_replicas > 0:
            raise ValueError("wanted one replica or more")
        self.open = {replica: [] for replica in range(num_replicas)}

    def send(self, num_tokens):
        replica = sorted(self.open, key=lambda r: (sum(self.open[r]), r))[0]
        self.open[replica].append(num_tokens)
        return replica

    def finished(self, replica, num_tokens):
        self.open[replica].remove(num_tokens)
