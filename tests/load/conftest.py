"""Runs Locust in separate processes: importing Locust here would patch the standard library for the whole
suite (Source: locust/__init__.py).

A run mostly waits, so the runs of a file are concurrent. A test names its run by a scenario:

    def slow(bench: Bench) -> LoadRun:
        return bench.run(*bench.stub("--slow", "0.2"))

    @pytest.mark.parametrize("load", [slow], indirect=True)
    def test_…(load: LoadRun) -> None:
"""

import itertools
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pytest

from preflight.engine.container import Container
from preflight.engine.edge import Edge

ROOT = Path(__file__).parents[2]
DEADLINE = 90
# On two CPUs, more concurrent runs would starve each other's generators.
RUNS_AT_ONCE = 6
# Locust's log line when all people are active; the second if a worker reports late.
ALL_ACTIVE = ("All users spawned", "Spawning is complete")

# Generator limits for a machine on which other tests run.
QUIET = {"cpu": 9, "late_ms": 3000, "steal": 1, "busy": 1}


@dataclass(frozen=True)
class LoadRun:
    """The result of a finished run."""

    exit_code: int
    output: str
    report: Path  # the HTML page; .md, .xml and .json lie beside it
    served: int = 0  # requests that the stub counted, if the scenario reads the count

    @property
    def verdict(self) -> dict[str, Any]:
        path = self.report.with_suffix(".json")
        assert path.exists(), f"no verdict was written:\n{self.output}"
        result: dict[str, Any] = json.loads(path.read_text())
        return result

    @property
    def reasons(self) -> str:
        return "\n".join(self.verdict["reasons"])

    def rows(self, key: str) -> dict[str, Any]:
        """The value of a key (`verdict`, `samples`, `limited` …) for each request name."""
        return {row["name"]: row[key] for row in self.verdict["requests"]}


class Forks:
    """forks.py in a separate process."""

    def __init__(self) -> None:
        self._process = python(Path(__file__).with_name("forks.py"), stdin=subprocess.PIPE)
        self._lock = threading.Lock()

    def send(self, command: int | list[str]) -> int:
        assert self._process.stdin and self._process.stdout
        with self._lock:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
            return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate(timeout=DEADLINE)


class Locust:
    """A running `locust`."""

    def __init__(self, forks: Forks, output: Path, arguments: list[str]) -> None:
        os.mkfifo(output)
        self._forks, self._pid = forks, forks.send([str(output), *arguments])
        self.output: TextIO = output.open()

    def send(self, number: signal.Signals) -> None:
        os.kill(self._pid, number)

    def end(self) -> tuple[int, str]:
        """Wait for the exit code and the rest of the output; kill the process after DEADLINE seconds."""
        deadline = threading.Timer(DEADLINE, self.send, [signal.SIGKILL])
        deadline.start()
        with self.output:
            rest = self.output.read()
        deadline.cancel()
        return self._forks.send(self._pid), rest

    def close(self) -> None:
        if not self.output.closed:
            self.send(signal.SIGKILL)
            self.end()


class Bench:
    """Starts runs, and stubs of both Spaces; `close` ends the remaining processes."""

    def __init__(self, folder: Path, forks: Forks) -> None:
        self._folder, self._forks, self._numbers = folder, forks, itertools.count()
        self._stubs: list[subprocess.Popen[str]] = []
        self._locusts: list[Locust] = []
        # Set by test files whose scenarios use them.
        self.spaces: dict[str, Container] = {}
        self.edge: Edge
        self.sleeping_edge: Edge  # has no Space until a test adds it

    def run(self, *arguments: object, slo: Path | None = None) -> LoadRun:
        """Run `locust -f loadtests --headless` to its verdict, with the thresholds of `slo`."""
        report = self.path("load.html")
        locust = self.start("--headless", "--html", report, "--slo", slo or self.slo(), *arguments)
        return self.finish(locust, report)

    def any(self, url: str, *options: object, slo: str, loadfile: str = "") -> LoadRun:
        """Run `preflight load URL` to its verdict, with the tables `slo`."""
        report = self.path("load.html")
        limits = "\n".join(f"{key} = {value}" for key, value in QUIET.items())
        report.with_name("slo.toml").write_text(f"{slo}\n[generator]\n{limits}\n")
        if loadfile:
            report.with_name("loadfile.py").write_text(loadfile)
        return self.preflight(
            url, "--slo", report.with_name("slo.toml"), "--report-dir", report.parent, *options,
            report=report,
        )  # fmt: skip

    def types(self, command: str, *more: object, report: Path | None = None) -> LoadRun:
        """Run a documented `locust …` or `preflight load …` to its verdict, with further options."""
        words = shlex.split(command)
        if words[0] == "locust":
            return self.run(*words[1:], *more)
        assert words[:2] == ["preflight", "load"]
        return self.preflight(*words[2:], *more, report=report or self.path("load.html"))

    def preflight(self, *arguments: object, report: Path) -> LoadRun:
        """Run `preflight load` with these arguments, which write to the folder of `report`."""
        command = [sys.executable, "-m", "preflight", "load", *map(str, arguments)]
        done = subprocess.run(
            command, cwd=report.parent, capture_output=True, text=True, timeout=DEADLINE
        )
        return LoadRun(done.returncode, done.stdout + done.stderr, report)

    def finish(self, locust: Locust, report: Path) -> LoadRun:
        return LoadRun(*locust.end(), report)

    def start(self, *arguments: object) -> Locust:
        """Start `locust -f loadtests`, or the files in the arguments."""
        files = [] if "-f" in arguments else ["-f", "loadtests"]
        locust = Locust(self._forks, self.path("output"), [*files, *map(str, arguments)])
        self._locusts.append(locust)
        return locust

    def stub(self, *faults: str) -> list[str]:
        """Start a stub of both Spaces with faults. Returns the options that load and watch the stub."""
        stub = python(Path(__file__).with_name("stub.py"), *faults)
        self._stubs.append(stub)
        assert stub.stdout
        url = f"http://127.0.0.1:{int(stub.stdout.readline())}"
        watch = f"backend-py=pid:{stub.pid}"
        return ["--backend-py", url, "--backend-node", url, "--watch", watch]

    def slo(self, generator: dict[str, float] | None = None, **values: float) -> Path:
        """Write a copy of loadtests/slo.toml for a few seconds on a machine with other work.
        `slo(p95=150)` sets a key for every request name, `slo(generator={"cpu": 0})` for the generator."""
        quiet = QUIET | (generator or {})
        short = {"samples": 1, "rate": 0.1, "p50": 3000} | values
        tables = tomllib.loads((ROOT / "loadtests/slo.toml").read_text())
        lines = []
        for name, table in tables.items():
            if name == "generator":
                table |= quiet
            elif "by" in table:
                # A few seconds have no samples for higher percentiles.
                table = {k: v for k, v in table.items() if k not in ("p95", "p99")} | short
            lines += [f'["{name}"]', *(f"{key} = {json.dumps(v)}" for key, v in table.items())]
        path = self.path("slo.toml")
        path.write_text("\n".join(lines))
        return path

    def path(self, name: str) -> Path:
        """A path in a new folder."""
        folder = self._folder / str(next(self._numbers))
        folder.mkdir()
        return folder / name

    def close(self) -> None:
        for locust in self._locusts:
            locust.close()
        for stub in self._stubs:
            stub.kill()
            stub.communicate()


Scenario = Callable[[Bench], LoadRun]


def python(*command: object, **options: Any) -> subprocess.Popen[str]:
    """Start a Python script."""
    options |= {"cwd": ROOT, "text": True, "stdout": subprocess.PIPE}
    return subprocess.Popen([sys.executable, *map(str, command)], **options)


def wait_for(locust: Locust, *texts: str) -> None:
    """Read the output until one of the texts appears. Fails if the process ends before that."""
    seen = []
    for line in locust.output:
        seen.append(line)
        if any(text in line for text in texts):
            return
    pytest.fail(f"the output ended without {texts}:\n{''.join(seen)}")


def interrupt(bench: Bench, number: signal.Signals) -> LoadRun:
    """Start a long run, and send it a signal as soon as all people are active."""
    report, people = bench.path("load.html"), ["-u", 6, "-r", 6, "-t", "60s"]
    locust = bench.start(
        "--headless", "--html", report, "--slo", bench.slo(), *people, *bench.stub()
    )
    wait_for(locust, *ALL_ACTIVE)
    locust.send(number)
    return bench.finish(locust, report)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    started = Forks()
    yield started
    started.close()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Iterator[Bench]:
    started = Bench(tmp_path_factory.mktemp("load"), forks)
    yield started
    started.close()


@pytest.fixture(scope="module")
def loads(
    request: pytest.FixtureRequest, bench: Bench
) -> Iterator[dict[Scenario, Future[LoadRun]]]:
    """The scenarios of the chosen tests of this file, some of them concurrent."""
    chosen = [item for item in request.session.items if item.path == request.path]
    params = [callspec.params for item in chosen if (callspec := getattr(item, "callspec", None))]
    scenarios = dict.fromkeys(param["load"] for param in params if "load" in param)
    pool = ThreadPoolExecutor(RUNS_AT_ONCE)
    yield {scenario: pool.submit(scenario, bench) for scenario in scenarios}
    # With pytest-xdist another worker may have run their tests; `bench` must not close under a run.
    pool.shutdown(cancel_futures=True)


@pytest.fixture
def load(request: pytest.FixtureRequest, loads: dict[Scenario, Future[LoadRun]]) -> LoadRun:
    """The finished run of a scenario."""
    return loads[request.param].result()
