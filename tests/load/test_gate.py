"""What the gate makes of planted faults: real runs of Locust against a stub of both Spaces."""

import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import EVERYBODY, LoadRun, Start, wait_for

Load = Callable[..., LoadRun]
Stub = Callable[..., list[str]]
SloFile = Callable[..., Path]

SHORT = ["--users", "6", "--spawn-rate", "6", "--run-time", "3s"]
# Long enough for somebody's whole visit, and so for every request name, on a busy machine too.
WHOLE = [*SHORT[:-1], "7s"]


def test_a_sound_target_is_held_and_every_report_says_so(
    load_run: Load, stub: Stub, slo: SloFile
) -> None:
    run = load_run(*WHOLE, *stub(), "--slo", slo())
    assert run.exit_code == 0, run.output
    assert run.verdict["verdict"] == "held"
    assert all(row["samples"] for row in run.verdict["requests"])
    assert run.output.strip().splitlines()[-1].startswith("Load: held (exit code 0)")
    assert '<section id="verdict"' in run.report.read_text()
    assert run.report.with_suffix(".md").read_text().startswith("## Load: held")
    assert '<testsuite name="load"' in run.report.with_suffix(".xml").read_text()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (["--slow", "0.2"], "POST backend-py/chat: p50 2"),
        (["--fail", "0.02"], "of: answered 500 instead of 200"),
        (["--rename", "/chat"], "POST backend-py/chat: 100.0% failed > 1.0%"),
        (["--limit", "0.5"], "answers 429, more than 0%"),
    ],
    ids=["slow", "failing", "renamed", "limited"],
)
def test_a_planted_fault_crosses_and_is_named(
    load_run: Load, stub: Stub, slo: SloFile, fault: list[str], reason: str
) -> None:
    run = load_run(*SHORT, "-u", "40", "-t", "7s", *stub(*fault), "--slo", slo())
    assert run.exit_code == 1, run.output
    assert reason in run.reasons


def test_a_leak_crosses_a_soak_run(load_run: Load, stub: Stub, slo: SloFile) -> None:
    people = ["--users", "4", "--spawn-rate", "4", "--shape", "soak", "--run-time", "18s"]
    run = load_run(*people, *stub("--leak", "1"), "--slo", slo())
    assert run.exit_code == 1, run.output
    assert "backend-py: grows by" in run.reasons
    watched = run.verdict["watched"]["backend-py"]
    assert all(len(watched[key]) >= 12 for key in ("cpu", "memory_mb", "network_mb", "files"))
    assert run.report.read_text().count("<polyline") == 4


def test_a_dead_target_is_invalid_and_ends_the_run_at_once(load_run: Load, slo: SloFile) -> None:
    with socket.socket() as taken:  # bound, not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{taken.getsockname()[1]}"
        run = load_run(
            "-u",
            "6",
            "-r",
            "6",
            "-t",
            "60s",
            "--backend-py",
            dead,
            "--backend-node",
            dead,
            "--slo",
            slo(),
        )
    assert run.exit_code == 2, run.output
    assert "backend-py: no request was answered" in run.reasons
    assert run.verdict["seconds"] < 20


def test_a_request_name_that_slo_does_not_know_crosses(
    load_run: Load, stub: Stub, slo: SloFile
) -> None:
    path = slo()
    path.write_text(path.read_text().replace('["GET backend-py/"]', '["GET backend-py/old"]'))
    run = load_run(*WHOLE, *stub(), "--slo", path)
    assert run.exit_code == 1, run.output
    assert "GET backend-py/: slo.toml does not know this name" in run.reasons
    assert "GET backend-py/old: no request was made" in run.reasons


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"generator": {"cpu": 0}}, "the generator was CPU-bound"),
        ({"samples": 9999}, "samples, 9999 are needed; run longer"),
    ],
)
def test_a_run_that_cannot_tell_is_invalid(
    load_run: Load, stub: Stub, slo: SloFile, values: dict[str, float], reason: str
) -> None:
    run = load_run(*SHORT, *stub("--slow", "0.2"), "--slo", slo(**values))
    assert run.exit_code == 2, run.output
    assert reason in run.reasons


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_interrupted_is_invalid(
    start: Start, stub: Stub, slo: SloFile, number: signal.Signals
) -> None:
    process = start("--headless", *SHORT, "--run-time", "60s", *stub(), "--slo", slo())
    wait_for(process, *EVERYBODY)
    process.send_signal(number)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 2, output
    assert "the run ended after " in output


def test_nobody_of_a_chosen_class_makes_a_run_invalid(
    load_run: Load, stub: Stub, slo: SloFile
) -> None:
    run = load_run("-u", "2", "-t", "2s", *stub(), "--slo", slo())
    assert run.exit_code == 2, run.output
    assert "there was no Reader; use more people (-u)" in run.reasons


@pytest.mark.parametrize("chosen", [["Visitor", "BackendNodeMonitor"], ["--tags", "backend-node"]])
def test_one_space_alone_is_judged_alone(
    load_run: Load, stub: Stub, slo: SloFile, chosen: list[str]
) -> None:
    run = load_run(*WHOLE, *stub(), "--slo", slo(), *chosen)
    assert run.exit_code == 0, run.output
    states = {row["name"]: row["verdict"] for row in run.verdict["requests"]}
    assert states["POST backend-py/chat"] == "not run"
    assert states["GET backend-node/health"] == "held"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--backend-py", "127.0.0.1:7861"], "must be a URL like http://127.0.0.1:7861"),
        (["--slo", "/nowhere/slo.toml"], "/nowhere/slo.toml"),
        (["--tags", "backend-go"], "backend-go is not one of backend-node, backend-py"),
        (["--watch", "backend-py=pid:0x1"], "'pid:0x1' is not container:ID or pid:NUMBER"),
    ],
)
def test_a_faulty_option_is_refused_by_name(
    load_run: Load, arguments: list[str], complaint: str
) -> None:
    run = load_run("-t", "2s", *arguments)
    assert run.exit_code == 2
    assert complaint in run.output
    assert "Traceback" not in run.output
