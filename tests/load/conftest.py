"""Runs of Locust, in processes of their own: importing Locust here would patch the standard library
for the whole suite (Source: locust/__init__.py)."""

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
# What Locust says when everybody is there; the second when a worker is slow to report it.
EVERYBODY = ("All users spawned", "Spawning is complete")
Start = Callable[..., subprocess.Popen[str]]


@dataclass(frozen=True)
class LoadRun:
    """What a finished run left behind."""

    exit_code: int
    output: str
    report: Path  # the HTML page; its siblings end with .md, .xml and .json

    @property
    def verdict(self) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(self.report.with_suffix(".json").read_text())
        return result

    @property
    def reasons(self) -> str:
        return "\n".join(self.verdict["reasons"])


def locust(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "locust", "-f", "loadtests", *map(str, arguments)]


def wait_for(process: subprocess.Popen[str], *texts: str) -> None:
    """Reads the output until one of the texts comes; fails when the process ends before."""
    assert process.stdout
    seen = []
    for line in process.stdout:
        seen.append(line)
        if any(text in line for text in texts):
            return
    pytest.fail(f"{texts} did not come:\n{''.join(seen)}")


@pytest.fixture
def load_run(tmp_path: Path) -> Callable[..., LoadRun]:
    """Runs `locust -f loadtests --headless` with further arguments and waits for its verdict."""

    def run(*arguments: object) -> LoadRun:
        report = tmp_path / "load.html"
        process = subprocess.run(
            locust("--headless", "--html", report, *arguments),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=90,
        )
        return LoadRun(process.returncode, process.stdout, report)

    return run


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts `locust -f loadtests` with arguments; ends what is left of it after the test."""
    processes: list[subprocess.Popen[str]] = []

    def begin(*arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            locust(*arguments),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        processes.append(process)
        return process

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def stub() -> Iterator[Callable[..., list[str]]]:
    """Starts a stub of both Spaces with faults; gives the options that send the load there and
    watch it."""
    servers: list[subprocess.Popen[str]] = []

    def start(*faults: str) -> list[str]:
        command = [sys.executable, str(Path(__file__).with_name("stub.py")), *faults]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        servers.append(server)
        assert server.stdout
        url = f"http://127.0.0.1:{int(server.stdout.readline())}"
        watch = f"backend-py=pid:{server.pid}"
        return ["--backend-py", url, "--backend-node", url, "--watch", watch]

    yield start
    for server in servers:
        server.kill()
        server.communicate()


@pytest.fixture
def slo(tmp_path: Path) -> Callable[..., Path]:
    """Writes loadtests/slo.toml with thresholds for a few seconds on a machine that does other work
    too. `slo(samples=5)` sets a key for every request name, `slo(generator={"cpu": 0})` for the
    generator."""
    quiet = {"late_ms": 1000, "steal": 1, "busy": 1}
    short = {"samples": 1, "rate": 0.1, "p50": 150, "p95": 2000, "p99": 5000}

    def write(generator: dict[str, float] | None = None, **values: float) -> Path:
        tables = tomllib.loads((ROOT / "loadtests/slo.toml").read_text())
        tables["generator"] |= quiet | (generator or {})
        lines = []
        for name, table in tables.items():
            table |= {} if name in ("generator", "growth") else short | values
            lines += [f'["{name}"]', *(f"{key} = {json.dumps(v)}" for key, v in table.items())]
        path = tmp_path / "slo.toml"
        path.write_text("\n".join(lines))
        return path

    return write
