"""The gate judges a run by slo.toml and sets the exit code: 0 held, 1 crossed, 2 invalid.

Importing this module in a locustfile installs the gate. Without it Locust exits 1 after a single failed
request, and 0 after a run without any request (Source: locust/main.py, shutdown()).
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import gevent
import psutil
from locust import events, log, runners
from locust.env import Environment
from locust.web import WebUI

from preflight.load import arrivals, care, judge, machine, plan, reading, report, slo, tab, watch
from preflight.load import options as run_options
from preflight.load.figures import Run, since, space_of
from preflight.load.people import awake
from preflight.load.shapes import SETTLE
from preflight.load.witness import FINISH, RUNNING, Witness, report_to_master

# Seconds by which two clocks may differ, or by which a clock may change during the run.
CLOCK_DIFFERENCE = 2.0
# Options with which Locust prints something and makes no run.
SHOWS = {"-h", "--help", "-V", "--version", "-l", "--list", "--show-task-ratio", "--show-task-ratio-json"}  # fmt: skip


def install(environment: Environment, web_ui: WebUI | None, **_: Any) -> None:
    """Install the gate in a run. Locust calls this at the start."""
    environment.events.test_start.add_listener(forget_last_run)
    if isinstance(environment.runner, runners.WorkerRunner):
        report_to_master(environment)
        return
    try:
        try:
            run_options.complete(environment)
        except (run_options.OptionError, care.NotYours):
            # The form of the web UI can still name other targets.
            if not web_ui:
                raise
        gate = Gate(environment)
    except (
        slo.SloError,
        watch.WatchError,
        run_options.OptionError,
        care.NotYours,
    ) as error:
        # Locust catches any exception of a listener except SystemExit.
        print(f"Load: invalid (exit code 2): {error}", file=sys.stderr)
        atexit.unregister(never_started)
        raise SystemExit(2) from None
    if web_ui:
        tab.show(gate.judge, web_ui, hide_host="" not in run_options.targets(environment))


def forget_last_run(**_: Any) -> None:
    """Clear the state that all people of a process share."""
    awake.clear()
    arrivals.stop()
    arrivals.timetables.clear()
    care.cares.clear()


events.init_command_line_parser.add_listener(run_options.add)
events.init.add_listener(install)


class Gate:
    """Judges the figures of a single process, or of a master and its workers."""

    installed: Gate | None = None

    def __init__(self, environment: Environment) -> None:
        assert environment.parsed_options and environment.runner
        self.environment, self.runner = environment, environment.runner
        self.options = environment.parsed_options
        self.thresholds = slo.load(Path(self.options.slo))
        for objective in self.thresholds.slos.values():
            if objective.by not in (environment.available_user_classes or {}):
                raise slo.SloError(
                    f"{self.options.slo}: [{objective.name}] by: no class {objective.by}"
                )
        self.watched = watch.parse(self.options.watch)
        self.verdict: judge.Verdict | None = None
        self.interrupted = False
        self.witnesses = {"": Witness()}
        self.start_run()
        self.started = 0.0
        self.busy = 0.0
        if self.options.headless:
            self.look_for_other_work()
        if isinstance(self.runner, runners.MasterRunner):
            environment.events.worker_report.add_listener(self.receive)
        else:
            self.witnesses[""].watch(environment)
        for event, listener in {
            "test_start": self.start_run,
            "test_stopping": self.end,
            "quitting": self.conclude,
            "quit": self.print_verdict,
        }.items():
            getattr(environment.events, event).add_listener(listener)
        gevent.spawn(self.patrol)
        if self.options.headless:
            # Locust listens to SIGTERM only once a shape is at its end (locust/main.py), and what
            # Ctrl-C raises is lost where gevent reports it to a pipe whose reader has gone: `| tee`.
            for number in (signal.SIGINT, signal.SIGTERM):
                gevent.signal_handler(number, self.interrupt)
        Gate.installed = self

    def interrupt(self) -> None:
        """End the run and judge it so far. A second signal ends it at once."""
        if self.interrupted or not self.started:
            never_started()
        self.interrupted = True
        self.runner.quit()

    def start_run(self, **_: Any) -> None:
        """Called when a run starts: clear the last run."""
        plan.settle(self.options)
        if plan.rate(self.options):
            # Requests in flight at the end count too: after a stall they are the slow ones.
            given = self.environment.stop_timeout or 0.0
            self.environment.stop_timeout = max(given, arrivals.PATIENCE)
        self.started, self.ended = time.time(), 0.0
        self.witnesses = {"": self.witnesses[""]}
        self.witnesses[""].clear()
        self.people = {kind.__name__: 0 for kind in self.environment.user_classes}
        self.complete_seconds = 0
        self.skewed: set[str] = set()  # workers whose clock differs
        self.workers: set[str] = set(getattr(self.runner, "clients", ()))
        self.finished: set[str] = set()
        self.stopped = False
        # Finished parts of the run with a constant number of people, and the current part.
        self.parts: list[Run] = []
        self.part: Run | None = None
        self.target, self.changed = 0, 0.0
        for watched in self.watched:
            watched.clear()

    def end(self, **_: Any) -> None:
        """Called when the run ends: wait for the last figures of the workers."""
        self.count_people()
        self.close_part()
        self.ended = time.time()
        self.witnesses[""].count_arrivals()
        arrivals.stop()
        if isinstance(self.runner, runners.MasterRunner):
            # Locust waits half a second for its workers' last figures, and doesn't check
            # whether they arrived. Source: locust/runners.py, MasterRunner.quit()
            lost = self.lost_workers(now=True)
            self.runner.send_message(FINISH)
            deadline = time.time() + 5 + (self.environment.stop_timeout or 0.0)
            while self.workers - self.finished - lost and time.time() < deadline:
                gevent.sleep(0.05)
            self.look_for_other_work()

    def look_for_other_work(self) -> None:
        """Measure the share of this machine's CPU that is in use without load. Other work takes CPU
        from the Spaces if they run here."""
        if self.thresholds.limits.busy >= 1:
            return
        gevent.sleep(0.3)  # the Spaces finish their last requests
        psutil.cpu_percent()
        gevent.sleep(0.5)
        self.busy = max(self.busy, psutil.cpu_percent() / 100)

    def receive(self, client_id: str, data: dict[str, Any]) -> None:
        """Take in a worker's report."""
        self.workers.add(client_id)
        self.witnesses.setdefault(client_id, Witness()).add(data["witness"])
        if abs(time.time() - data["now"]) > CLOCK_DIFFERENCE:
            self.skewed.add(client_id)
        (self.finished.add if data["final"] else self.finished.discard)(client_id)

    def present(self) -> dict[str, int]:
        """The current number of people of each class."""
        if isinstance(self.runner, runners.MasterRunner):
            present = dict(self.runner.reported_user_classes_count)
        else:
            present = self.runner.user_classes_count
        # Workers also report classes that the master left out.
        return {kind: present.get(kind, 0) for kind in self.people}

    def count_people(self) -> None:
        """Keep the largest number of people of each class."""
        for kind, count in self.present().items():
            self.people[kind] = max(count, self.people[kind])

    def patrol(self) -> None:
        """Once a second: sample the Spaces, mark the parts of the run, and end a run whose verdict
        can't change any more."""
        while True:
            gevent.sleep(1)
            if self.runner.state not in RUNNING or self.stopped or self.ended:
                continue
            for watched in self.watched:
                watched.sample(time.time() - self.started)
            if self.runner.target_user_count != self.target:
                self.close_part()
                self.target, self.changed = self.runner.target_user_count, time.time()
            elif not self.part and time.time() - self.changed >= SETTLE:
                self.part = replace(self.run(), people=self.present())
            self.count_people()
            self.print_progress()
            self.complete_seconds += sum(self.present().values()) >= self.options.planned_people
            if self.is_decided():
                self.stopped = True
                gevent.spawn(self.runner.quit if self.options.headless else self.runner.stop)

    def print_progress(self) -> None:
        """Print a line every five seconds if Locust prints no tables."""
        second = round(time.time() - self.started)
        if not self.options.only_summary or second % 5:
            return
        total, wanted = self.environment.stats.total, plan.seconds(self.options)
        print(
            f"load: second {second}{f' of {wanted}' if wanted else ''}: "
            f"{sum(self.present().values())} people, {total.num_requests} responses, "
            f"{total.num_failures} failed",
            file=sys.stderr,
            flush=True,
        )

    def close_part(self) -> None:
        """End the current part: the number of people changes, or the run ends."""
        if self.part:
            self.parts.append(since(self.run(), self.part))
        self.part = None

    def is_decided(self) -> bool:
        """Whether the verdict can't change any more."""
        run = self.run()
        if judge.silent_spaces(run.figures, at_least=5) or self.lost_workers():
            return True
        if run.died or run.burst:
            return True
        if reading.silent(self.witnesses.values()):
            return False
        if self.options.shape == "step":
            found = judge.capacities(self.thresholds, self.parts).values()
            return bool(found) and all(done for _, done in found)
        # The rest of a spike, a wake or a ramp differs from its start.
        even = self.options.shape not in ("spike", "wake") and ":" not in self.options.shape
        return even and judge.hopeless(self.thresholds.slos, run, plan.seconds(self.options))

    def lost_workers(self, now: bool = False) -> set[str]:
        """The workers that disappeared; after the end of a run also those that didn't finish."""
        if not isinstance(self.runner, runners.MasterRunner):
            return set()
        clients = self.runner.clients
        here = {id for id in clients if clients[id].state != runners.STATE_MISSING}
        return self.workers - self.finished - (set() if self.ended and not now else here)

    def run(self) -> Run:
        """The run so far."""
        stats, witnesses, now = self.environment.stats, [*self.witnesses.values()], time.time()
        waking = self.options.shape == "wake"
        even = self.options.shape not in plan.OF_PEOPLE
        return Run(
            seconds=max(0.0, (self.ended or now) - stats.start_time),
            people=dict(self.people),
            figures=reading.figures(stats, witnesses),
            targets=run_options.targets(self.environment),
            wanted=self.options.planned_people if self.ended else 0,
            complete=self.complete_seconds if self.ended and even else None,
            arrivals=reading.arrivals(plan.rate(self.options), witnesses),
            generators=reading.generators(self.witnesses),
            steal=reading.steal(witnesses),
            busy=self.busy,
            growth={w.name: w.growth() for w in self.watched if self.options.shape == "soak"},
            woke=reading.woke(stats) if waking else {},
            died={} if waking else reading.died(witnesses, stats.start_time, self.ended or now),
            burst=reading.bursts(witnesses),
            faults=tuple(self.faults()),
            stopped=self.stopped,
        )

    def faults(self) -> list[str]:
        """The reasons that make the run invalid whatever its figures are."""
        faults = [f"worker {id} was lost" for id in sorted(self.lost_workers())]
        wanted, seconds = plan.seconds(self.options), (self.ended or time.time()) - self.started
        try:
            run_options.check_targets(self.environment)
        except (run_options.OptionError, care.NotYours) as refusal:
            faults.append(str(refusal))
        if not self.started:
            faults.append("the run never started")
        elif self.ended and wanted and not self.stopped and seconds < wanted - 2:
            faults.append(f"the run ended after {seconds:.0f} s of {wanted} s")
        if self.ended and self.options.shape == "wake":
            asleep = reading.woke(self.environment.stats).keys()
            seen = reading.figures(self.environment.stats, self.witnesses.values())
            for space in sorted({space_of(name) for name in seen} - asleep):
                faults.append(f"{space} was awake: no request got the edge's 503")
        if self.ended and self.options.shape == "soak" and not self.stopped:
            for watched in self.watched:
                if not watched.growth():
                    faults.append(f"{watched.name}: too few samples to detect growth; run longer")
        if any(witness.clock > CLOCK_DIFFERENCE for witness in self.witnesses.values()):
            faults.append(
                "a generator's clock was changed during the run, so its times are invalid"
            )
        for id in sorted(self.skewed):
            faults.append(
                f"the clock of worker {id} differs from the master's; synchronize both by NTP"
            )
        for raised in self.runner.exceptions.values():
            faults.append(f"a task raised {raised['count']} times: {raised['msg']}")
        if log.unhandled_greenlet_exception:
            faults.append("the load test itself failed; its traceback is in the log")
        return faults

    def judge(self) -> judge.Verdict:
        """Judge a step run by its first step, a spike by the part after it, any other run as a whole."""
        run = self.run()
        if not self.parts or self.options.shape not in ("step", "spike"):
            return judge.judge(self.thresholds, run)
        part = self.parts[0 if self.options.shape == "step" else -1]
        part = replace(part, faults=run.faults, busy=self.busy, died=run.died, wanted=0)
        verdict = judge.judge(self.thresholds, part)
        if self.options.shape == "step":
            for space, (words, _) in judge.capacities(self.thresholds, self.parts).items():
                verdict.notes.append(f"{run.called(space)} holds: {words}")
        return verdict

    def conclude(self, **_: Any) -> None:
        """Judge the run and write the reports."""
        if not self.started and not self.options.headless:
            return  # the web UI was opened and closed
        if self.options.headless and not isinstance(self.runner, runners.MasterRunner):
            self.look_for_other_work()
        self.verdict = self.judge()
        self.environment.process_exit_code = self.verdict.exit_code
        if self.options.html_file:
            written = Path(self.options.html_file)
            report.write(
                self.verdict, self.watched, written, machine.calibrated(), self.options.shape
            )

    def print_verdict(self, **_: Any) -> None:
        """Print the verdict after Locust's tables, so that it comes last."""
        if self.verdict is None:
            return
        try:
            print("\n" + report.table(self.verdict), flush=True)
        except BrokenPipeError:
            # Python would exit with 120 if it can't write its output. Source: docs.python.org, signal, SIGPIPE
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@atexit.register
def never_started() -> None:
    """Exit with 2 if there was no run. Locust exits 1, which here means "crossed", when it stops before the
    run: an unknown class, missing workers, an invalid option. This handler is registered before Locust's
    handler that ends its child processes, so Python calls it after that handler."""
    gate = Gate.installed
    headless = "--headless" in sys.argv or os.environ.get("LOCUST_HEADLESS", "").lower() in ("1", "true")  # fmt: skip
    is_run = headless and not SHOWS & set(sys.argv) and "--worker" not in sys.argv
    if (gate.options.headless and not gate.verdict) if gate else (is_run and in_main_process()):
        what = "the run was interrupted" if gate and gate.started else "the run never started"
        with suppress(OSError):
            print(f"Load: invalid (exit code 2): {what}", file=sys.stderr, flush=True)
            sys.stdout.flush()
        os._exit(2)


def in_main_process() -> bool:
    """Whether this is not a fork of --processes."""
    return os.getpid() == MAIN_PROCESS


MAIN_PROCESS = os.getpid()
