"""Several generators, one verdict."""

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from .conftest import EVERYBODY, LoadRun, Start, wait_for


@pytest.fixture
def master_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_the_merged_figures_of_two_processes_are_judged(
    load_run: Callable[..., LoadRun], stub: Callable[..., list[str]], slo: Callable[..., Path]
) -> None:
    people = ["--users", "8", "--spawn-rate", "8", "--run-time", "4s", "--tags", "backend-py"]
    targets = stub()
    run = load_run(*people, *targets, "--slo", slo(), "--processes", 2)
    assert run.exit_code == 0, run.output
    counted = sum(row["samples"] for row in run.verdict["requests"])
    served = requests.get(f"{targets[1]}/served", timeout=5).json()
    # Each of eight people may have been stopped while a request was on its way.
    assert served - 8 <= counted <= served
    assert sum(run.verdict["people"].values()) == 8
    assert run.verdict["generator"]["cpu"] > 0


def test_a_lost_worker_makes_the_run_invalid(
    start: Start,
    stub: Callable[..., list[str]],
    slo: Callable[..., Path],
    master_port: int,
    tmp_path: Path,
) -> None:
    report = tmp_path / "load.html"
    run = ["--headless", "-u", "8", "-r", "8", "-t", "6s", "--slo", slo(), "--html", report]
    bind = ["--master-bind-host", "127.0.0.1", "--master-bind-port", master_port]
    master = start("--master", *bind, "--expect-workers", 2, *run, *stub())
    worker, doomed = (start("--worker", "--master-port", master_port) for _ in range(2))
    wait_for(master, *EVERYBODY)
    doomed.kill()
    output, _ = master.communicate(timeout=60)
    assert master.returncode == 2, output
    reasons = json.loads(report.with_suffix(".json").read_text())["reasons"]
    assert any(reason.startswith("worker ") and "was lost" in reason for reason in reasons), reasons
    worker.communicate(timeout=20)
    assert worker.returncode == 0


def test_workers_that_do_not_come_make_the_run_invalid(start: Start, master_port: int) -> None:
    bind = ["--master-bind-host", "127.0.0.1", "--master-bind-port", master_port]
    wait = ["--expect-workers", 1, "--expect-workers-max-wait", 1]
    master = start("--master", "--headless", "-t", "2s", *bind, *wait)
    output, _ = master.communicate(timeout=30)
    assert master.returncode == 2, output
    assert "the run never began" in output
