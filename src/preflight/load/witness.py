"""The report of a generator process about itself, and how a worker sends it to its master.

Locust samples its CPU only every ten seconds and only warns (Source: locust/runners.py), which is too late
for a short run.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import gevent
import gevent.socket
import psutil
from locust import runners
from locust.env import Environment

from preflight.load import arrivals, care
from preflight.load.figures import space_of

# Seconds that a worker waits for its master to end.
LEAVE_DEADLINE = 30
FINISH = "finish"  # master to worker: stop all people and send the last figures
RUNNING = (runners.STATE_SPAWNING, runners.STATE_RUNNING)
# The edge's statuses for a Space that does not run; 0: no response.
NOT_RUNNING = (0, 502, 503, 504)


class Witness:
    """The record of a generator process."""

    def __init__(self) -> None:
        # Percent of a core that the process used or waited for -> seconds
        self.cpu: Counter[int] = Counter()
        self.steal: list[
            float
        ] = []  # share of this machine's CPU that its host took, a sample per second
        self.late: Counter[int] = Counter()  # milliseconds -> timers
        self.unanswered: Counter[str] = Counter()  # request name -> requests
        # Space -> time of its last response without the edge's, and unanswered requests since.
        self.answered: dict[str, float] = {}
        self.silent: Counter[str] = Counter()
        self.bursts: dict[str, int] = {}  # Space -> 5xx responses in a row
        self.due = self.dropped = 0  # arrivals
        self.clock = 0.0  # seconds by which the clock was changed during the run

    def watch(self, environment: Environment) -> None:
        """Record from now on, while people are active."""
        environment.events.request.add_listener(self.count)
        gevent.spawn(self._look, environment)

    def count(self, request_type: str, name: str, response: Any, **_: Any) -> None:
        """Count a response, or a request without a response. Figures of request parts have response None."""
        if response is None:
            return
        status, full = getattr(response, "status_code", 0), f"{request_type} {name}"
        space = space_of(full)
        if not status:
            self.unanswered[full] += 1
        if status in NOT_RUNNING:
            self.silent[space] += 1
        else:
            self.answered[space] = time.time()
            self.silent[space] = 0

    def count_arrivals(self) -> None:
        """Read the timetables; call this while people are active."""
        counts = [table.counts() for table in arrivals.timetables.values()]
        self.due, self.dropped = sum(c[0] for c in counts), sum(c[1] for c in counts)

    def clear(self) -> None:
        """Clear the run so far."""
        self.take()
        self.answered, self.bursts, self.silent = {}, {}, Counter()
        self.due = self.dropped = 0
        self.clock = 0.0

    def take(self) -> dict[str, Any]:
        """The records since the last call, and the state, as plain values to send."""
        self.bursts.update({space: c.errors for space, c in care.cares.items() if c.burst})
        report = {
            "cpu": dict(self.cpu),
            "steal": self.steal,
            "late": dict(self.late),
            "unanswered": dict(self.unanswered),
            "answered": dict(self.answered),
            "silent": dict(self.silent),
            "bursts": dict(self.bursts),
            "due": self.due,
            "dropped": self.dropped,
            "clock": self.clock,
        }
        self.cpu, self.steal, self.late, self.unanswered = Counter(), [], Counter(), Counter()
        return report

    def add(self, report: dict[str, Any]) -> None:
        """Add a report that the same process sent."""
        self.steal += report["steal"]
        self.cpu.update(report["cpu"])
        self.late.update(report["late"])
        self.unanswered.update(report["unanswered"])
        self.answered, self.bursts = report["answered"], report["bursts"]
        self.silent = Counter(report["silent"])
        self.due, self.dropped = report["due"], report["dropped"]
        self.clock = report["clock"]

    def _look(self, environment: Environment) -> None:
        second, demand, clock = 0.0, cpu_demand(), clock_offset()
        while True:
            due = time.perf_counter() + 0.02
            gevent.sleep(0.02)
            now = time.perf_counter()
            if environment.runner is None or environment.runner.state not in RUNNING:
                second, clock = 0.0, clock_offset()
                continue
            self.late[int((now - due) * 1000)] += 1
            if now - second < 1:
                continue
            # Only Linux reports the CPU that the host took.
            steal = getattr(psutil.cpu_times_percent(), "steal", 0.0)
            before, demand = demand, cpu_demand()
            if second:  # the first sample has no predecessor
                self.cpu[round(100 * (demand - before) / (now - second))] += 1
                self.steal.append(steal / 100)
            second = now
            self.count_arrivals()
            self.bursts.update({space: c.errors for space, c in care.cares.items() if c.burst})
            self.clock = max(self.clock, abs(clock_offset() - clock))


def listens(options: Any) -> bool:
    """Whether the master of this worker still accepts connections."""
    try:
        gevent.socket.create_connection((options.master_host, options.master_port), 2).close()
        return True
    except OSError:
        return False


def cpu_demand() -> float:
    """Seconds of CPU that this process used, or waited for while it was ready to run."""
    try:
        # Nanoseconds on a CPU, and in its queue. Source: Documentation/scheduler/sched-stats.rst
        used, waited, _ = Path("/proc/self/schedstat").read_text().split()
        return (int(used) + int(waited)) / 1e9
    except OSError:  # not Linux
        return time.process_time()


def clock_offset() -> float:
    """The wall clock minus the monotonic clock: constant unless the wall clock is changed."""
    return time.time() - time.monotonic()


def report_to_master(environment: Environment) -> None:
    """Send this worker's witness report along with its figures."""
    runner = environment.runner
    assert isinstance(runner, runners.WorkerRunner)
    witness = Witness()
    witness.watch(environment)
    environment.events.test_start.add_listener(lambda **_: witness.clear())

    def add_report(data: dict[str, Any], **_: Any) -> None:
        data["witness"] = witness.take()
        data["now"] = time.time()
        data["final"] = runner.state not in RUNNING

    def finish(**_: Any) -> None:
        witness.count_arrivals()
        arrivals.stop()
        runner.stop()
        data: dict[str, Any] = {}
        environment.events.report_to_master.fire(client_id=runner.client_id, data=data)
        runner.send_message("stats", data)

    def leave(**_: Any) -> None:
        environment.process_exit_code = 0  # the master judges
        # `docker compose up --exit-code-from master` stops the master, and drops its further output, as
        # soon as a worker's container ends.
        options: Any = environment.parsed_options
        deadline = time.monotonic() + LEAVE_DEADLINE
        while not options.processes and time.monotonic() < deadline and listens(options):
            gevent.sleep(0.5)

    environment.events.report_to_master.add_listener(add_report)
    environment.events.quitting.add_listener(leave)
    runner.register_message(FINISH, finish)
