"""The gate must judge planted faults in real runs of Locust against a stub of both Spaces."""

import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace

import pytest
import requests

from tests.cli.documents import typed

from .conftest import ALL_ACTIVE, ROOT, Bench, LoadRun, free_port, interrupt, wait_for

# Long enough for a whole visit, and so for every request name, even on a busy machine.
EVERY_NAME = ["-u", 6, "-r", 6, "-t", "6s"]
MANY = ["-u", 12, "-r", 12, "-t", "5s"]
READERS = [*MANY, "--tags", "backend-py"]


def run_with(*arguments: object) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("load", arguments, indirect=True)


def sound(bench: Bench) -> LoadRun:
    return bench.run(*EVERY_NAME, *bench.stub())


@run_with(sound)
def test_a_sound_target_must_hold_in_every_report(load: LoadRun) -> None:
    assert load.exit_code == 0, load.output
    assert load.verdict["verdict"] == "held"
    assert all(load.rows("samples").values())
    assert load.output.strip().splitlines()[-2].startswith("Load: held (exit code 0)")
    page = load.report.read_text()
    assert '<section id="verdict"' in page
    assert page.count("<polyline") == 6
    assert load.verdict["model"] == "closed"
    assert load.verdict["targets"].keys() == {"backend-py", "backend-node"}
    assert "preflight_load_verdict" in load.report.with_suffix(".prom").read_text()
    assert load.report.with_suffix(".md").read_text().startswith("## Load: held")
    assert '<testsuite name="load"' in load.report.with_suffix(".xml").read_text()


def slow(bench: Bench) -> LoadRun:
    return bench.run(*READERS, *bench.stub("--slow", "0.2"), slo=bench.slo(p50=150))


def failing(bench: Bench) -> LoadRun:
    command = typed("locust -f loadtests --tags backend-py")
    return bench.types(command, *MANY, *bench.stub("--fail", "0.1"))


def renamed(bench: Bench) -> LoadRun:
    return bench.run(*READERS, *bench.stub("--rename", "/chat"))


def limited(bench: Bench) -> LoadRun:
    command = typed("locust -f loadtests Reader BackendPyMonitor")
    return bench.types(command, *MANY, *bench.stub("--limit", "0.5"))


def leaking(bench: Bench) -> LoadRun:
    people = ["-u", 3, "-r", 3, "-t", "22s", "--tags", "backend-py"]
    return bench.run(*people, "--shape", "soak", *bench.stub("--leak", "1"))


def stalling(bench: Bench) -> LoadRun:
    arrivals = ["--rate", 10, "-t", "14s", "--tags", "backend-py"]
    return bench.run(*arrivals, *bench.stub("--stall", "2"), slo=bench.slo(p95=700))


def dying(bench: Bench) -> LoadRun:
    people = ["-u", 12, "-r", 12, "-t", "60s", "--tags", "backend-py"]
    busy = {"busy": 0.0}  # every machine is busier than this
    return bench.run(*people, *bench.stub("--die", "4")[:4], slo=bench.slo(generator=busy))


@pytest.mark.parametrize(
    ("load", "reason"),
    [
        (stalling, "GET backend-py/: p95 "),
        (dying, "and then no more: the Space died or hangs under load"),
        (slow, "ms > 150 ms"),
        (failing, "of: answered 500 instead of 200"),
        (renamed, "POST backend-py/chat: 100.0% failed > 1.0%"),
        (limited, "responses 429, more than 0%"),
        (leaking, "MB of memory an hour > 20"),
    ],
    indirect=["load"],
)
def test_a_planted_fault_must_cross_and_be_named(load: LoadRun, reason: str) -> None:
    assert load.exit_code == 1, load.output
    assert reason in load.reasons
    assert "backend-py" in load.reasons


def dead(bench: Bench) -> LoadRun:
    with socket.socket() as taken:  # bound, not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        return bench.run(
            "-u", 6, "-r", 6, "-t", "60s", "--backend-py", url, "--backend-node", url
        )  # fmt: skip


@run_with(dead)
def test_a_dead_target_must_be_invalid_and_end_the_run(load: LoadRun) -> None:
    assert load.exit_code == 2, load.output
    assert "backend-py: no request was answered" in load.reasons
    assert load.verdict["seconds"] < 20


def interrupted_by_ctrl_c(bench: Bench) -> LoadRun:
    return interrupt(bench, signal.SIGINT)


def terminated(bench: Bench) -> LoadRun:
    return interrupt(bench, signal.SIGTERM)


@run_with(interrupted_by_ctrl_c, terminated)
def test_an_interrupted_run_must_be_invalid(load: LoadRun) -> None:
    assert load.exit_code == 2, load.output
    assert "the run ended after " in load.output


def test_ctrl_c_must_end_a_run_with_a_closed_pipe(bench: Bench) -> None:
    """Ctrl-C must end `make load 2>&1 | tee`, although tee ends at once and no process reads the output."""
    command = [sys.executable, "-m", "locust", "-f", "loadtests", "--headless", "-t", "60s"]
    options = ["--slo", bench.slo(), *bench.stub()]
    with subprocess.Popen(
        [*command, *map(str, options)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as run:  # fmt: skip
        assert run.stdout
        for line in run.stdout:
            if any(text in line for text in ALL_ACTIVE):
                break
        else:
            pytest.fail("no person started")
        run.stdout.close()
        run.send_signal(signal.SIGINT)
        assert run.wait(timeout=20) == 2


def too_few_people(bench: Bench) -> LoadRun:
    return bench.run("-u", 2, "-t", "2s", *bench.stub())


def late_people(bench: Bench) -> LoadRun:
    return bench.run("-u", 60, "-r", 1, "-t", "8s", *bench.stub())


@run_with(late_people)
def test_a_run_without_all_its_people_must_be_invalid(load: LoadRun) -> None:
    assert load.exit_code == 2, load.output
    assert "of 60 people started; use a longer -t or a higher -r" in load.reasons


@run_with(too_few_people)
def test_a_run_without_a_chosen_class_must_be_invalid(load: LoadRun) -> None:
    assert load.exit_code == 2, load.output
    assert "there was no Reader; use more people (-u)" in load.reasons


def one_space_by_tag(bench: Bench) -> LoadRun:
    return bench.run(*EVERY_NAME, *bench.stub(), "--tags", "backend-node")


def one_space_by_classes(bench: Bench) -> LoadRun:
    return bench.run(*EVERY_NAME, *bench.stub(), "Visitor", "BackendNodeMonitor")


@run_with(one_space_by_tag, one_space_by_classes)
def test_a_run_on_a_single_space_must_judge_only_that_space(load: LoadRun) -> None:
    assert load.exit_code == 0, load.output
    states = load.rows("verdict")
    assert states["POST backend-py/chat"] == "not run"
    assert states["GET backend-node/health"] == "held"


def no_url(bench: Bench) -> LoadRun:
    return bench.run("--backend-py", "127.0.0.1:7861")


def no_slo(bench: Bench) -> LoadRun:
    return bench.run("--slo", "/nowhere/slo.toml", *bench.stub())


def no_space(bench: Bench) -> LoadRun:
    return bench.run("--tags", "backend-go")


def no_class(bench: Bench) -> LoadRun:
    return bench.run("NoSuchPerson")


def no_shape(bench: Bench) -> LoadRun:
    return bench.run("--shape", "ramp:0..x")


def two_shapes(bench: Bench) -> LoadRun:
    return bench.run("--shape", "spike", "--rate", "5", *bench.stub())


def not_ours(bench: Bench) -> LoadRun:
    return bench.run("--backend-py", "https://space.example.com", *bench.stub()[2:])


def too_often(bench: Bench) -> LoadRun:
    url = ["--backend-py", "https://space.example.com", "--tags", "backend-py"]
    return bench.run(*url, "--yes-load-this", "--rate", "21", "-t", "10s")


def too_long(bench: Bench) -> LoadRun:
    url = ["--backend-py", "https://space.example.com", "--tags", "backend-py"]
    return bench.run(*url, "--yes-load-this", "-t", "61s")


def no_stack(bench: Bench) -> LoadRun:
    """A Compose project that was never started."""
    os.environ["COMPOSE_PROJECT_NAME"] = "load-of-nothing"
    try:
        return bench.run("--tags", "backend-py")
    finally:
        del os.environ["COMPOSE_PROJECT_NAME"]


def no_process(bench: Bench) -> LoadRun:
    return bench.run(*bench.stub()[:4], "--watch", "backend-py=pid:0x1")


def no_certificate(bench: Bench) -> LoadRun:
    return bench.run("--ca", "/nowhere/edge.crt")


@pytest.mark.parametrize(
    ("load", "complaint"),
    [
        (no_url, "must be a URL like http://127.0.0.1:7861"),
        (no_slo, "/nowhere/slo.toml"),
        (no_space, "backend-go is not one of backend-node, backend-py"),
        (no_class, "Unknown User(s): NoSuchPerson"),
        (no_shape, "must be one of steady, smoke"),
        (two_shapes, "--rate: --shape spike changes the people"),
        (not_ours, "space.example.com is not this machine's. A load test"),
        (too_often, "--rate 21 is more than 20 requests a second"),
        (too_long, "a run takes at most 60 s there"),
        (no_stack, "does not run backend-py, so there is nothing to load; start it (make up)"),
        (no_process, "'pid:0x1' is not container:ID or pid:NUMBER"),
        (no_certificate, "/nowhere/edge.crt holds no certificate"),
    ],
    indirect=["load"],
)
def test_an_invalid_option_must_be_refused_by_name(load: LoadRun, complaint: str) -> None:
    assert load.exit_code == 2
    assert complaint in load.output
    assert "Traceback" not in load.output


def two_processes(bench: Bench) -> LoadRun:
    people = ["-u", 8, "-r", 8, "-t", "7s", "--tags", "backend-py"]
    targets = bench.stub()
    run = bench.run(*people, *targets, "--processes", 2)
    return replace(run, served=requests.get(f"{targets[1]}/served", timeout=5).json())


@run_with(two_processes)
def test_the_merged_figures_of_two_processes_must_be_judged(load: LoadRun) -> None:
    assert load.exit_code == 0, load.output
    assert sum(load.verdict["people"].values()) == 8
    assert load.verdict["generator"]["cpu"] > 0
    # Each of eight people may have been stopped with a request in flight.
    samples = {name: count for name, count in load.rows("samples").items() if "(first)" not in name}
    assert load.served - 8 <= sum(samples.values()) <= load.served


def lost_worker(bench: Bench) -> LoadRun:
    report, port = bench.path("load.html"), free_port()
    people = ["--headless", "-u", 8, "-r", 8, "-t", "30s", "--html", report, "--slo", bench.slo()]
    bind = ["--master-bind-host", "127.0.0.1", "--master-bind-port", port]
    master = bench.start("--master", *bind, "--expect-workers", 2, *people, *bench.stub())
    worker, doomed = (bench.start("--worker", "--master-port", port) for _ in range(2))
    wait_for(master, *ALL_ACTIVE)
    doomed.send(signal.SIGKILL)
    run = bench.finish(master, report)
    assert worker.end()[0] == 0
    return run


@run_with(lost_worker)
def test_a_lost_worker_must_make_the_run_invalid(load: LoadRun) -> None:
    assert load.exit_code == 2, load.output
    assert "worker " in load.reasons
    assert "was lost" in load.reasons
    assert load.verdict["seconds"] < 25


def no_workers(bench: Bench) -> LoadRun:
    bind = ["--master-bind-host", "127.0.0.1", "--master-bind-port", free_port()]
    wait = ["--expect-workers", 1, "--expect-workers-max-wait", 1]
    return bench.run("--master", "-t", "2s", *bind, *wait, *bench.stub())


@run_with(no_workers)
def test_missing_workers_must_make_the_run_invalid(load: LoadRun) -> None:
    assert load.exit_code == 2, load.output
    assert "the run never started" in load.output
