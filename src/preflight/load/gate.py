"""The gate: judges the run by slo.toml and sets the exit code: 0 held, 1 crossed, 2 invalid.

Locust by itself exits 1 after a single failed request and 0 when no request was made at all
(Source: locust/main.py, shutdown()).
"""

import atexit
import os
import re
import signal
import ssl
import sys
import time
from argparse import ArgumentTypeError
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import flask
import gevent
import psutil
from locust import events, log, runners
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.stats import StatsError
from locust.web import WebUI

from preflight.load import report as _report
from preflight.load import slo as _slo
from preflight.load import watch as _watch
from preflight.load.people import LIMITED, WAKING, awake
from preflight.load.shapes import SETTLE, SHAPES, planned

FINISH = "finish"  # master to worker: stop everybody and send the last figures
RUNNING = (runners.STATE_SPAWNING, runners.STATE_RUNNING)


def add_options(parser: LocustArgumentParser) -> None:
    """Locust's --host is one for all; two Spaces need two. A worker gets these from its master."""

    def add(option: str, default: str, help: str, **more: Any) -> None:
        variable = "LOCUST" + option.upper().replace("-", "_")[1:]
        parser.add_argument(option, default=default, env_var=variable, help=help, **more)

    add("--backend-py", "http://127.0.0.1:7861", "URL of backend-py", type=url)
    add("--backend-node", "http://127.0.0.1:7862", "URL of backend-node", type=url)
    add("--origin", "http://localhost:3000", "Origin of the page that calls them", type=url)
    choices = "; ".join(f"{shape}: {what}" for shape, (what, _) in SHAPES.items())
    add("--shape", "steady", f"How many people when. {choices}", choices=list(SHAPES))
    watch = "CPU, memory and open files to sample: NAME=container:ID or NAME=pid:N, comma-separated"
    add("--watch", "", watch, include_in_web_ui=False)
    authority = (
        "Certificate authority (PEM file) of https:// targets, in the place of the usual ones"
    )
    add("--ca", "", authority, type=pem, include_in_web_ui=False)
    slo = str(Path(__file__).with_name("slo.toml"))
    add("--slo", slo, "Thresholds that the run must hold", include_in_web_ui=False)


def url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ArgumentTypeError(f"must be a URL like http://127.0.0.1:7861, not {text!r}")
    return text


def pem(text: str) -> str:
    try:
        ssl.create_default_context(cafile=text)
    except (OSError, ssl.SSLError) as error:
        raise ArgumentTypeError(f"{text} holds no certificate: {error}") from None
    return text


def install(environment: Environment, web_ui: WebUI | None, **_: Any) -> None:
    environment.events.test_start.add_listener(lambda **_: awake.clear())
    if isinstance(environment.runner, runners.WorkerRunner):
        report_to_master(environment)
        return
    try:
        choose_spaces(environment)
        gate = Gate(environment)
    except (_slo.SloError, _watch.WatchError, TagError) as error:
        # Locust catches what a listener raises, except this.
        print(f"Load: invalid (exit code 2): {error}", file=sys.stderr)
        raise SystemExit(2) from None
    if web_ui:
        show_verdict(gate, web_ui)


events.init_command_line_parser.add_listener(add_options)
events.init.add_listener(install)


class TagError(ValueError):
    """--tags or --exclude-tags names something else than a Space."""


def choose_spaces(environment: Environment) -> None:
    """`--tags backend-py`: the people of one Space alone. Locust would leave the others without a
    task and fail with each of them (Source: locust/user/task.py), so they are taken out here."""
    options: Any = environment.parsed_options
    kinds: list[Any] = environment.user_classes
    spaces = {kind.space for kind in kinds}
    for unknown in set((options.tags or []) + (options.exclude_tags or [])) - spaces:
        raise TagError(f"--tags: {unknown} is not one of {', '.join(sorted(spaces))}")
    wanted = set(options.tags or spaces) - set(options.exclude_tags or [])
    environment.user_classes[:] = [kind for kind in kinds if kind.space in wanted]
    options.tags = options.exclude_tags = None


class Witness:
    """What one generator process can say about itself. Locust samples its CPU every ten seconds
    and only warns (Source: locust/runners.py), which a short run never sees."""

    def __init__(self) -> None:
        # Percent of a core that it used or, on a busy machine, waited for -> seconds
        self.cpu: Counter[int] = Counter()
        self.steal: list[float] = []  # share of this machine's CPU, a sample per second
        self.late: Counter[int] = Counter()  # milliseconds -> timers
        self.unanswered: Counter[str] = Counter()

    def watch(self, environment: Environment) -> None:
        """Record from now on, whenever people are about."""

        def look() -> None:
            second, demand = 0.0, cpu_demand()
            while True:
                due = time.perf_counter() + 0.02
                gevent.sleep(0.02)
                now = time.perf_counter()
                if environment.runner is None or environment.runner.state not in RUNNING:
                    second = 0.0
                    continue
                self.late[int((now - due) * 1000)] += 1
                if now - second >= 1:
                    # Only Linux knows what its host took.
                    steal = getattr(psutil.cpu_times_percent(), "steal", 0.0)
                    before, demand = demand, cpu_demand()
                    if second:  # the first call has nothing to compare with
                        self.cpu[round(100 * (demand - before) / (now - second))] += 1
                        self.steal.append(steal / 100)
                    second = now

        def count(request_type: str, name: str, response: Any, **_: Any) -> None:
            if getattr(response, "status_code", 0) == 0:
                self.unanswered[f"{request_type} {name}"] += 1

        environment.events.request.add_listener(count)
        gevent.spawn(look)

    def take(self) -> dict[str, Any]:
        """What was recorded since the last call, as plain values for the wire."""
        report = {key: type(value)(value) for key, value in vars(self).items()}
        for value in vars(self).values():
            value.clear()
        return report

    def add(self, report: dict[str, Any]) -> None:
        self.steal += report["steal"]
        self.cpu.update(report["cpu"])
        self.late.update(report["late"])
        self.unanswered.update(report["unanswered"])


def cpu_demand() -> float:
    """Seconds of CPU that this process has used or, being ready to run, waited for."""
    try:
        # Nanoseconds on a CPU, and in its queue. Source: Documentation/scheduler/sched-stats.rst
        used, waited, _ = Path("/proc/self/schedstat").read_text().split()
        return (int(used) + int(waited)) / 1e9
    except OSError:  # not Linux
        return time.process_time()


def report_to_master(environment: Environment) -> None:
    """Send what this worker can say about itself along with its figures."""
    runner = environment.runner
    assert isinstance(runner, runners.WorkerRunner)
    witness = Witness()
    witness.watch(environment)

    def add_report(data: dict[str, Any], **_: Any) -> None:
        data["witness"] = witness.take()
        data["final"] = runner.state not in RUNNING

    def finish(**_: Any) -> None:
        runner.stop()
        data: dict[str, Any] = {}
        environment.events.report_to_master.fire(client_id=runner.client_id, data=data)
        runner.send_message("stats", data)

    def leave(**_: Any) -> None:
        environment.process_exit_code = 0  # the master judges
        # `docker compose up --exit-code-from master` stops the master, and shows no more of it, as
        # soon as a worker's container is at its end.
        if environment.parsed_options and not environment.parsed_options.processes:
            gevent.sleep(3)

    environment.events.report_to_master.add_listener(add_report)
    environment.events.quitting.add_listener(leave)
    runner.register_message(FINISH, finish)


class Gate:
    """Judges the figures of a single process or of a master."""

    installed: "Gate | None" = None

    def __init__(self, environment: Environment) -> None:
        assert environment.parsed_options and environment.runner
        self.environment, self.runner = environment, environment.runner
        self.options = environment.parsed_options
        self.thresholds = _slo.load(Path(self.options.slo))
        for slo in self.thresholds.slos.values():
            if slo.by not in (environment.available_user_classes or {}):
                raise _slo.SloError(f"{self.options.slo}: [{slo.name}] by: no class {slo.by}")
        self.watched = _watch.parse(self.options.watch)
        self.verdict: _slo.Verdict | None = None
        self.begin()
        self.started = 0.0
        self.busy = 0.0
        if self.options.headless:
            self.look_for_other_work()
        if isinstance(self.runner, runners.MasterRunner):
            environment.events.worker_report.add_listener(self.hear)
        else:
            self.witnesses[""].watch(environment)
        for event, listener in {
            "test_start": self.begin,
            "test_stopping": self.end,
            "quitting": self.conclude,
            "quit": self.tell,
        }.items():
            getattr(environment.events, event).add_listener(listener)
        gevent.spawn(self.patrol)
        if self.options.headless:
            # Locust listens to SIGTERM only once a shape is at its end (locust/main.py).
            gevent.signal_handler(
                signal.SIGTERM, lambda: self.runner.quit() if self.started else never_began()
            )
        Gate.installed = self

    def begin(self, **_: Any) -> None:
        self.started, self.ended = time.time(), 0.0
        self.witnesses = {"": getattr(self, "witnesses", {}).get("", Witness())}
        self.witnesses[""].take()
        self.people = {kind.__name__: 0 for kind in self.environment.user_classes}
        self.workers: set[str] = set(getattr(self.runner, "clients", ()))
        self.finished: set[str] = set()
        self.stopped = False
        # Parts of the run in which the number of people stayed the same, and the one that is open.
        self.parts: list[_slo.Run] = []
        self.part: _slo.Run | None = None
        self.target, self.changed = 0, 0.0
        for watched in self.watched:
            watched.clear()

    def end(self, **_: Any) -> None:
        self.count_people()
        self.close_part()
        self.ended = time.time()
        if isinstance(self.runner, runners.MasterRunner):
            # Locust gives its workers half a second for their last figures, and doesn't look
            # whether they came. Source: locust/runners.py, MasterRunner.quit()
            lost = self.lost_workers(now=True)
            self.runner.send_message(FINISH)
            deadline = time.time() + 5
            while self.workers - self.finished - lost and time.time() < deadline:
                gevent.sleep(0.05)
            self.look_for_other_work()

    def look_for_other_work(self) -> None:
        """The share of this machine's CPU that is in use while there is no load: then the Spaces,
        if they run here, get less than they would have alone."""
        if self.thresholds.limits.busy >= 1:
            return
        gevent.sleep(0.3)  # the Spaces finish what they were asked
        psutil.cpu_percent()
        gevent.sleep(0.5)
        self.busy = max(self.busy, psutil.cpu_percent() / 100)

    def hear(self, client_id: str, data: dict[str, Any]) -> None:
        self.workers.add(client_id)
        self.witnesses.setdefault(client_id, Witness()).add(data["witness"])
        (self.finished.add if data["final"] else self.finished.discard)(client_id)

    def present(self) -> dict[str, int]:
        if isinstance(self.runner, runners.MasterRunner):
            present = dict(self.runner.reported_user_classes_count)
        else:
            present = self.runner.user_classes_count
        # Workers report on every class, also on those that the master left out.
        return {kind: present.get(kind, 0) for kind in self.people}

    def count_people(self) -> None:
        for kind, count in self.present().items():
            self.people[kind] = max(count, self.people[kind])

    def patrol(self) -> None:
        """Once a second: look at the Spaces, mark the parts of the run, and end a run that can't
        give another verdict any more."""
        while True:
            gevent.sleep(1)
            if self.runner.state not in RUNNING or self.stopped:
                continue
            for watched in self.watched:
                watched.sample(time.time() - self.started)
            if self.runner.target_user_count != self.target:
                self.close_part()
                self.target, self.changed = self.runner.target_user_count, time.time()
            elif not self.part and time.time() - self.changed >= SETTLE:
                self.part = replace(self.run(), people=self.present())
            self.count_people()
            if self.is_decided():
                self.stopped = True
                gevent.spawn(self.runner.quit if self.options.headless else self.runner.stop)

    def close_part(self) -> None:
        if self.part:
            self.parts.append(_slo.since(self.run(), self.part))
        self.part = None

    def is_decided(self) -> bool:
        run = self.run()
        if _slo.silent_spaces(run.figures, at_least=5) or self.lost_workers():
            return True
        if self.options.shape == "step":
            found = _slo.capacities(self.thresholds, self.parts).values()
            return bool(found) and all(done for _, done in found)
        # The rest of a spike or a wake is not like its beginning.
        seconds = 0 if self.options.shape in ("spike", "wake") else planned(self.options)
        return _slo.hopeless(self.thresholds.slos, run, seconds)

    def lost_workers(self, now: bool = False) -> set[str]:
        """The workers that went away, after the end of a run also those that didn't finish."""
        if not isinstance(self.runner, runners.MasterRunner):
            return set()
        clients = self.runner.clients
        here = {id for id in clients if clients[id].state != runners.STATE_MISSING}
        return self.workers - self.finished - (set() if self.ended and not now else here)

    def figures(self) -> dict[str, _slo.Figures]:
        stats = self.environment.stats
        errors: dict[str, Counter[str]] = defaultdict(Counter)
        for error in stats.errors.values():
            text = StatsError.parse_error(error.error)
            text = re.sub(r"""^CatchResponseError\(['"](.*)['"]\)$""", r"\1", text)
            errors[f"{error.method} {error.name}".removesuffix(LIMITED)][text] += error.occurrences
        entries = {f"{method} {name}": entry for (name, method), entry in stats.entries.items()}
        unanswered: Counter[str] = sum((w.unanswered for w in self.witnesses.values()), Counter())
        figures = {}
        for name in {e.removesuffix(LIMITED) for e in entries if not e.endswith(WAKING)}:
            entry, limited = entries.get(name), entries.get(name + LIMITED)
            figures[name] = _slo.Figures(
                samples=entry.num_requests if entry else 0,
                # A 429 that is not right, say without Retry-After, counts as a failure too.
                failures=sum(e.num_failures for e in (entry, limited) if e),
                unanswered=unanswered[name],
                limited=limited.num_requests if limited else 0,
                latencies=dict(entry.response_times) if entry else {},
                errors=tuple(f"{count} of: {text}" for text, count in errors[name].most_common()),
            )
        return figures

    def woke(self) -> dict[str, float | None]:
        """Seconds until each Space answered by itself; None for one that did not."""
        if self.options.shape != "wake":
            return {}
        stats, asleep, answered = self.environment.stats, dict[str, float](), set[str]()
        for (name, method), entry in stats.entries.items():
            space = _slo.space_of(f"{method} {name}")
            if name.endswith(WAKING):
                last = (entry.last_request_timestamp or 0.0) - stats.start_time
                asleep[space] = max(asleep.get(space, 0.0), last)
            else:
                answered.add(space)
        return {space: seconds if space in answered else None for space, seconds in asleep.items()}

    def run(self) -> _slo.Run:
        witnesses = self.witnesses.items()
        return _slo.Run(
            seconds=max(0.0, (self.ended or time.time()) - self.environment.stats.start_time),
            people=dict(self.people),
            figures=self.figures(),
            generators={
                id: _slo.Generator(cpu=dict(w.cpu), late=dict(w.late)) for id, w in witnesses
            },
            steal=max((sum(w.steal) / len(w.steal) for _, w in witnesses if w.steal), default=0),
            busy=self.busy,
            growth={w.name: w.growth() for w in self.watched if self.options.shape == "soak"},
            woke=self.woke(),
            faults=tuple(self.faults()),
            stopped=self.stopped,
        )

    def faults(self) -> list[str]:
        faults = [f"worker {id} was lost" for id in sorted(self.lost_workers())]
        wanted, seconds = planned(self.options), (self.ended or time.time()) - self.started
        if not self.started:
            faults.append("the run never began")
        elif self.ended and wanted and not self.stopped and seconds < wanted - 2:
            faults.append(f"the run ended after {seconds:.0f} s of {wanted} s")
        if self.ended and self.options.shape == "wake":
            spaces = {_slo.space_of(name) for name in self.figures()}
            for space in sorted(spaces - self.woke().keys()):
                faults.append(f"{space} was awake: no request met the edge's 503")
        for error in self.runner.exceptions.values():
            faults.append(f"a task raised {error['count']} times: {error['msg']}")
        if log.unhandled_greenlet_exception:
            faults.append("the load test itself failed; its traceback is in the log")
        return faults

    def judge(self) -> _slo.Verdict:
        """A step run is judged by its first step, a spike by what follows it; any other as one."""
        run = self.run()
        if not self.parts or self.options.shape not in ("step", "spike"):
            return _slo.judge(self.thresholds, run)
        part = self.parts[0 if self.options.shape == "step" else -1]
        verdict = _slo.judge(self.thresholds, replace(part, faults=run.faults, busy=self.busy))
        if self.options.shape == "step":
            for space, (words, _) in _slo.capacities(self.thresholds, self.parts).items():
                verdict.notes.append(f"{space} holds: {words}")
        return verdict

    def conclude(self, **_: Any) -> None:
        if not self.started and not self.options.headless:
            return  # the web UI was opened and closed
        if self.options.headless and not isinstance(self.runner, runners.MasterRunner):
            self.look_for_other_work()
        self.verdict = self.judge()
        self.environment.process_exit_code = self.verdict.exit_code
        if self.options.html_file:
            _report.write(self.verdict, self.watched, Path(self.options.html_file))

    def tell(self, **_: Any) -> None:
        """After Locust's own tables, so that the verdict is what one sees last."""
        if self.verdict:
            print("\n" + _report.table(self.verdict), flush=True)


@atexit.register
def never_began() -> None:
    """Locust exits 1, which here means "crossed", also when it gives up before the run: workers
    that don't come, an option that it can't use. Registered before Locust registers the end of its
    own child processes, and so called after it."""
    gate = Gate.installed
    if gate and gate.options.headless and not gate.verdict:
        print("Load: invalid (exit code 2): the run never began", file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(2)


def show_verdict(gate: Gate, web_ui: WebUI) -> None:
    """A tab "Verdict" in the web UI, and the same as JSON at /verdict.
    Source: locust examples/extend_web_ui.py"""
    keys = {column: column.replace(" ", "_") for column in _report.COLUMNS}
    structure = [{"key": key, "title": column} for column, key in keys.items()]
    web_ui.template_args["extended_tabs"] = [{"title": "Verdict", "key": "verdict"}]
    web_ui.template_args["extended_tables"] = [{"key": "verdict", "structure": structure}]
    assert web_ui.app

    @web_ui.app.after_request
    def add_verdict(response: flask.Response) -> flask.Response:
        if flask.request.path.endswith("/stats/requests") and response.is_json:
            verdict = gate.judge()
            rows = [[_report.headline(verdict)], *map(_report.cells, verdict.rows)]
            table = [dict(zip(keys.values(), row, strict=False)) for row in rows]
            extended = [{"key": "verdict", "data": table}]
            response.set_data(flask.json.dumps({**response.get_json(), "extended_stats": extended}))
        return response

    @web_ui.app.get("/verdict")
    def verdict() -> flask.Response:
        return flask.Response(_report.data(gate.judge()), mimetype="application/json")
