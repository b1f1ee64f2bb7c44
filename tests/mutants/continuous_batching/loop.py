"""The loop with arrivals."""

import bisect

from course_lib.techniques.scheduling import schedule_continuous
from course_lib.techniques.serving_loop import ServingLoop

from .. import mutant, rival

LOOP = "continuous_batching.loop"


class _Loop(ServingLoop):
    """Right; mutants change one thing."""

    def arrived(self, now):
        return [r for r in self.waiting if r.arrival_time <= now]

    def admit(self, work):
        for request, _ in work:
            if request not in self.running:
                self.waiting.remove(request)
                self.running.append(request)
                self.batch.join(request)

    def take(self, said):
        for request, token in said.items():
            if token in request.stop_tokens:
                self._end(request, "stop")
                continue
            request.generated.append(token)
            if len(request.generated) == request.max_tokens:
                self._end(request, "length")

    def step(self, now):
        arrived = self.arrived(now)
        if arrived or self.running:
            work = self.schedule(arrived, self.running, self.limits)
            self.admit(work)
            self.take(self.batch.run(work))


@mutant(LOOP, "early")
class NobodyIsTooEarly(_Loop):
    def arrived(self, now):
        return list(self.waiting)


@mutant(LOOP, "order")
class InTheOrderAdded(_Loop):
    def add(self, request):
        self.waiting.append(request)


@mutant(LOOP, "not_joined")
class NeverJoins(_Loop):
    def admit(self, work):
        for request, _ in work:
            if request not in self.running:
                self.waiting.remove(request)
                self.running.append(request)


@mutant(LOOP, "joined_twice")
class JoinsEveryStep(_Loop):
    def admit(self, work):
        for request, _ in work:
            if request in self.waiting:
                self.waiting.remove(request)
                self.running.append(request)
            self.batch.join(request)


@mutant(LOOP, "row_leak")
class FinishesWithoutLeaving(_Loop):
    def _end(self, request, reason):
        request.finish_reason = reason
        (self.running if request in self.running else self.waiting).remove(request)


@mutant(LOOP, "cancel_leak")
class CancelKeepsTheRow(_Loop):
    def cancel(self, request):
        if request.finish_reason is None:
            request.finish_reason = "cancelled"
            (self.running if request in self.running else self.waiting).remove(request)


@mutant(LOOP, "cancel_leak")
class CancelOnlySaysSo(_Loop):
    def cancel(self, request):
        if request.finish_reason is None:
            request.finish_reason = "cancelled"
            if request in self.waiting:
                self.waiting.remove(request)


@mutant(LOOP, "cancel_waits")
class CancelForgetsTheWaiting(_Loop):
    def cancel(self, request):
        if request in self.running:
            super().cancel(request)
        elif request.finish_reason is None:
            request.finish_reason = "cancelled"


@mutant(LOOP, "cancel_no_row")
class CancelAlwaysLeaves(_Loop):
    def cancel(self, request):
        if request.finish_reason is None:
            request.finish_reason = "cancelled"
            self.batch.leave(request)
            (self.running if request in self.running else self.waiting).remove(request)


@mutant(LOOP, "cancel_ended")
class CancelRewritesTheEnd(_Loop):
    def cancel(self, request):
        if request in self.running or request in self.waiting:
            self._end(request, "cancelled")
        request.finish_reason = "cancelled"


@mutant(LOOP, "stop_kept")
class KeepsTheStopToken(_Loop):
    def take(self, said):
        for request, token in said.items():
            request.generated.append(token)
            if token in request.stop_tokens:
                self._end(request, "stop")
            elif len(request.generated) == request.max_tokens:
                self._end(request, "length")


@mutant(LOOP, "too_long")
class SeesTheEndAStepLate(_Loop):
    def take(self, said):
        for request, token in said.items():
            if token in request.stop_tokens:
                self._end(request, "stop")
            elif len(request.generated) == request.max_tokens:
                self._end(request, "length")
            else:
                request.generated.append(token)


@mutant(LOOP, "too_short")
class StopsOneEarly(_Loop):
    def take(self, said):
        for request, token in said.items():
            if token in request.stop_tokens:
                self._end(request, "stop")
                continue
            request.generated.append(token)
            if len(request.generated) >= request.max_tokens - 1:
                self._end(request, "length")


@mutant(LOOP, "still_runs")
class FinishedStillRun(_Loop):
    """The row is given back, the request stays in `running`."""

    def _end(self, request, reason):
        request.finish_reason = reason
        if request in self.running:
            self.batch.leave(request)
        else:
            self.waiting.remove(request)


@mutant(LOOP, "no_reason")
class WithoutAReason(_Loop):
    def _end(self, request, reason):
        super()._end(request, reason if reason == "cancelled" else None)


@mutant(LOOP, "empty_step")
class AsksWhenNobodyIsThere(_Loop):
    def step(self, now):
        work = self.schedule(self.arrived(now), self.running, self.limits)
        self.admit(work)
        self.take(self.batch.run(work))


@mutant(LOOP, "only_first")
class RemovesWhileIterating(_Loop):
    def take(self, said):
        for request in said:
            token = said[request]
            if token not in request.stop_tokens:
                request.generated.append(token)
        for request in self.running:  # skips the one behind each that is removed
            if said.get(request) in request.stop_tokens:
                self._end(request, "stop")
            elif len(request.generated) == request.max_tokens:
                self._end(request, "length")


@mutant(LOOP, "refill_late")
class WaitsForAnEmptyStep(_Loop):
    """In a step after one in which somebody has left, nobody joins."""

    left = False

    def arrived(self, now):
        return [] if self.left and self.running else super().arrived(now)

    def step(self, now):
        before = len(self.running)
        super().step(now)
        self.left = len(self.running) < before or (not self.left and before == 0 and len(self.running) == 0)
        if self.left and not self.running:
            self.pause = True


@mutant(LOOP, "own_schedule")
class KnowsBetter(_Loop):
    def step(self, now):
        kept, self.schedule = self.schedule, schedule_continuous
        super().step(now)
        self.schedule = kept


@rival(LOOP)
class ByTables:
    """No inheritance, other lists: a sorted queue, and a dict of those that run."""

    def __init__(self, batch, schedule, limits):
        self.batch, self.schedule, self.limits = batch, schedule, limits
        self.queue, self.count, self.active = [], 0, {}

    @property
    def waiting(self):
        return [r for _, _, r in self.queue]

    @property
    def running(self):
        return list(self.active.values())

    def add(self, request):
        self.count += 1
        bisect.insort(self.queue, (request.arrival_time, self.count, request))

    def cancel(self, request):
        if request.finish_reason is None:
            self.let_go(request, "cancelled")

    def let_go(self, request, reason):
        request.finish_reason = reason
        if self.active.pop(id(request), None) is None:
            self.queue = [entry for entry in self.queue if entry[2] is not request]
        else:
            self.batch.leave(request)

    def step(self, now):
        here = [r for at, _, r in self.queue if at <= now]
        if not here and not self.active:
            return
        work = self.schedule(here, self.running, self.limits)
        for item in work:
            if id(item.request) not in self.active:
                self.queue = [entry for entry in self.queue if entry[2] is not item.request]
                self.batch.join(item.request)
                self.active[id(item.request)] = item.request
        ended = []
        for request, token in self.batch.run(work).items():
            stops = token in request.stop_tokens
            request.generated += [] if stops else [token]
            if stops or len(request.generated) >= request.max_tokens:
                ended.append((request, "stop" if stops else "length"))
        for request, reason in ended:
            self.let_go(request, reason)
