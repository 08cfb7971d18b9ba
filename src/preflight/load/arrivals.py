"""The open model: visits arrive at a rate, however slow the responses are.

In the closed model a person waits for a response before the next request. During a stall of two seconds
each person has one slow request, and the requests that would have come meanwhile are never counted
(coordinated omission). In the open model every visit has an intended start, and its first latency counts
from there. A free person takes the next visit.
"""

from __future__ import annotations

import math
import time
from collections import deque
from typing import Any

import gevent
from gevent.event import AsyncResult
from locust.env import Environment
from locust.runners import WorkerRunner

from preflight.load import plan

# Seconds after which a visit without a free person is dropped: a real visitor would have left.
PATIENCE = 10
# Seconds from the first person to the first arrival; the other people start meanwhile.
HEAD_START = 1.0


class Timetable:
    """When the visits of a class of people are due in this process. `share`: of the whole rate.

    A visit goes to the person who became free last, because their connection is still open. So there are
    no more connections than simultaneous visits.
    """

    def __init__(self, rate: plan.Rate, share: float) -> None:
        self._rate, self._share = rate, share
        self._due = self._expired = 0
        self._free: list[AsyncResult[float]] = []
        self._waiting: deque[float] = deque()
        self._clerk = gevent.spawn(self._call_up)

    def take(self) -> float:
        """Wait for the next visit. Returns the moment (perf_counter) at which it was due."""
        while self._waiting:
            due = self._waiting.popleft()
            if time.perf_counter() - due <= PATIENCE:
                return due
            self._expired += 1
        turn: AsyncResult[float] = AsyncResult()
        self._free.append(turn)
        try:
            return float(turn.get() or 0.0)
        finally:
            # Also when the run ends while this person waits.
            if turn in self._free:
                self._free.remove(turn)

    def counts(self) -> tuple[int, int]:
        """How many visits were due so far, and how many of them had no free person."""
        return self._due, self._expired + len(self._waiting)

    def stop(self) -> None:
        """Start no further visits."""
        self._clerk.kill(block=False)

    def _call_up(self) -> None:
        start = time.perf_counter() + HEAD_START
        while (seconds := self._rate.due(self._due / self._share)) < math.inf:
            gevent.sleep(max(0.0, start + seconds - time.perf_counter()))
            self._due += 1
            if self._free:
                self._free.pop().set(start + seconds)
            else:
                self._waiting.append(start + seconds)


# The timetables of the current run, by class of people.
timetables: dict[str, Timetable] = {}


def stop() -> None:
    """Start no further visits: the run ends. Visits in progress go on."""
    for table in timetables.values():
        table.stop()


def of_kind(environment: Environment, kind: Any) -> Timetable | None:
    """The timetable for a class of people; None in the closed model and for monitors, whose number is
    fixed."""
    wanted = plan.rate(environment.parsed_options)
    if wanted is None or kind.fixed_count:
        return None
    if kind.__name__ not in timetables:
        kinds = [other for other in environment.user_classes if not other.fixed_count]
        weight = kind.weight / sum(other.weight for other in kinds)
        timetables[kind.__name__] = Timetable(wanted, weight * share(environment))
    return timetables[kind.__name__]


def share(environment: Environment) -> float:
    """This generator process's share of all people, and so of the rate."""
    runner, options = environment.runner, environment.parsed_options
    if not isinstance(runner, WorkerRunner) or not options:
        return 1.0
    planned: int = getattr(options, "planned_people", 0) or 1
    return max(0.001, sum(runner.target_user_classes_count.values()) / planned)
