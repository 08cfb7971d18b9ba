"""`preflight load` on an unknown Space: each planted fault has its verdict and exit code."""

import json
import shlex
import socket
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from tests.cli.documents import typed

from .conftest import ROOT, Bench, LoadRun

SLO = """
["GET /"]
p50 = 3000
["GET /items"]
path = "/items?page=2"
p50 = 150
"""
PACE = ["--users", 8, "--think", 0.1, "-t", 5]


def run_with(*arguments: object) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("load", arguments, indirect=True)


def sound(bench: Bench) -> LoadRun:
    return bench.any(bench.stub()[1], *PACE, slo=SLO)


@run_with(sound)
def test_a_sound_space_must_hold(load: LoadRun) -> None:
    assert load.exit_code == 0, load.output
    assert load.verdict["verdict"] == "held"
    assert load.verdict["people"] == {"Caller": 8}
    assert load.verdict["machine"]["calibration_ms"] > 0
    assert all(load.rows("samples").values())


def slow(bench: Bench) -> LoadRun:
    return bench.any(bench.stub("--slow", "0.3")[1], *PACE, slo=SLO)


def failing(bench: Bench) -> LoadRun:
    return bench.any(bench.stub("--fail", "0.1")[1], *PACE, slo=SLO)


def renamed(bench: Bench) -> LoadRun:
    return bench.any(bench.stub("--rename", "/items")[1], *PACE, slo=SLO)


def dying(bench: Bench) -> LoadRun:
    return bench.any(bench.stub("--die", "3")[1], *PACE[:-1], 30, slo=SLO)


def leaking(bench: Bench) -> LoadRun:
    _, url, *_, watch = bench.stub("--leak", "1")
    watch = watch.replace("backend-py", "target")
    return bench.any(url, *PACE[:-1], 22, "--shape", "soak", "--", "--watch", watch, slo=SLO)


def stalling(bench: Bench) -> LoadRun:
    stub = bench.stub("--stall", "2")[1]
    return bench.any(stub, "--rate", 40, "-t", 12, slo=SLO + "p95 = 700\n")


@pytest.mark.parametrize(
    ("load", "reason"),
    [
        (slow, "GET /items: p50 "),
        (failing, "of: answered 500 instead of 200"),
        (renamed, "GET /items: 100.0% failed > 1.0%"),
        (dying, "and then no more: the Space died or hangs under load"),
        (leaking, "target: grows by "),
        (stalling, "GET /items: p95 "),
    ],
    indirect=["load"],
)
def test_a_planted_fault_must_cross_and_be_named(load: LoadRun, reason: str) -> None:
    assert load.exit_code == 1, load.output
    assert reason in load.reasons


def dead(bench: Bench) -> LoadRun:
    with socket.socket() as taken:  # bound, not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        return bench.any(f"http://127.0.0.1:{taken.getsockname()[1]}", *PACE, slo=SLO)


def too_few_people(bench: Bench) -> LoadRun:
    return bench.any(bench.stub()[1], "--users", 90, "-t", 4, slo=SLO)


def too_short(bench: Bench) -> LoadRun:
    return bench.any(bench.stub()[1], "--users", 2, "-t", 3, slo=SLO + "p99 = 3000\n")


def a_rate_out_of_reach(bench: Bench) -> LoadRun:
    stub = bench.stub("--slow", "0.5")[1]
    return bench.any(stub, "--users", 4, "--rate", 30, "-t", 6, slo=SLO.replace("150", "9000"))


@pytest.mark.parametrize(
    ("load", "reason"),
    [
        (dead, "no request was answered; start it"),
        (too_few_people, "of 90 people started"),
        (too_short, "p99 needs 100; run longer"),
        (a_rate_out_of_reach, "found all 4 people waiting for a response"),
    ],
    indirect=["load"],
)
def test_a_run_without_a_reliable_verdict_must_be_invalid(load: LoadRun, reason: str) -> None:
    assert load.exit_code == 2, load.output
    assert reason in load.reasons


PARTS = """
["POST /chat/stream"]
json = { question = "why" }
stream = true
p50 = 3000
["POST /chat/stream (first)"]
p50 = 3000
["POST /upload"]
upload = "file.bin"
p50 = 3000
["WS /echo"]
send = "hello"
p50 = 3000
["WS /echo (connect)"]
p50 = 3000
"""


def parts(bench: Bench) -> LoadRun:
    # The file to upload must lie in reach of slo.toml, which `any` writes to a new folder.
    loadfile = "from pathlib import Path\n"
    upload = bench.path("file.bin")
    upload.write_bytes(bytes(10_000))
    slo = PARTS.replace("file.bin", f"../{upload.parent.name}/file.bin")
    return bench.any(bench.stub()[1], *PACE, slo=slo, loadfile=loadfile)


@run_with(parts)
def test_streams_uploads_and_web_sockets_must_have_separate_figures(load: LoadRun) -> None:
    """A stream must last to its last event, which the stub sends a tenth of a second after the first."""
    assert load.exit_code == 0, load.output
    assert all(load.rows("samples").values())
    assert not any(load.rows("failures").values())
    p50 = load.rows("p50")
    assert p50["POST /chat/stream"] - p50["POST /chat/stream (first)"] > 80


# Resolves every name to the stub, so that a name of another machine can be loaded.
ELSEWHERE = """
import gevent.socket

getaddrinfo = gevent.socket.getaddrinfo
gevent.socket.getaddrinfo = lambda host, *more, **options: getaddrinfo("127.0.0.1", *more, **options)
"""
ROOT_ONLY = '["GET /"]\np50 = 3000\nlimited = 1\n'


def elsewhere(bench: Bench, *faults: str, seconds: int = 5) -> LoadRun:
    here = bench.stub(*faults)[1]
    url = here.replace("127.0.0.1", "space.example.com")
    options = ["--users", 10, "--think", 0, "-t", seconds, "--yes-load-this"]
    run = bench.any(url, *options, slo=ROOT_ONLY, loadfile=ELSEWHERE)
    return replace(run, served=requests.get(f"{here}/served", timeout=5).json())


def on_others(bench: Bench) -> LoadRun:
    return elsewhere(bench)


def on_others_who_limit(bench: Bench) -> LoadRun:
    return elsewhere(bench, "--every", "429")


def on_others_who_fail(bench: Bench) -> LoadRun:
    return elsewhere(bench, "--every", "500", seconds=20)


@run_with(on_others)
def test_a_target_elsewhere_must_get_at_most_twenty_requests_a_second(load: LoadRun) -> None:
    assert load.exit_code == 0, load.output
    assert 60 < load.served <= 20 * 5 + 10


@run_with(on_others_who_limit)
def test_retry_after_must_be_obeyed(load: LoadRun) -> None:
    """Ten people must pause for two seconds after each 429; only requests in flight may still arrive."""
    assert load.served <= 3 * 4, load.output


@run_with(on_others_who_fail)
def test_a_burst_of_5xx_must_end_the_load(load: LoadRun) -> None:
    assert load.exit_code == 1, load.output
    assert "responses 5xx in a row, so the load on it ended" in load.reasons
    assert load.served <= 5 + 10
    assert load.verdict["seconds"] < 10


def own_people(bench: Bench) -> LoadRun:
    loadfile = """
from locust import constant, task
from preflight.load.people import Person

class Reader(Person):
    wait_time = constant(0.1)

    @task
    def read(self) -> None:
        self.call("GET", "/health", check=lambda body: None)
"""
    slo = '["GET /health"]\nby = "Reader"\np50 = 3000\n'
    return bench.any(bench.stub()[1], *PACE, slo=slo, loadfile=loadfile)


@run_with(own_people)
def test_a_loadfile_beside_slo_toml_must_define_people(load: LoadRun) -> None:
    assert load.exit_code == 0, load.output
    assert load.verdict["people"] == {"Reader": 8}


def at_once(bench: Bench) -> LoadRun:
    loadfile = """
import socket
from locust import constant, task
from geventhttpclient.url import URL
from preflight.load.people import Person

class Reader(Person):
    wait_time = constant(0.2)

    @task
    def read(self) -> None:
        self.call("GET", "/health")
        pool = self.client.client.clientpool.get_client(URL(self.host))._connection_pool
        connection = pool.get_socket()
        no_delay = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        pool.return_socket(connection)
        assert no_delay, "Nagle's algorithm is on"
"""
    slo = '["GET /health"]\nby = "Reader"\np50 = 3000\n'
    return bench.any(bench.stub()[1], *PACE, slo=slo, loadfile=loadfile)


@run_with(at_once)
def test_no_request_must_wait_for_an_acknowledgement(load: LoadRun) -> None:
    """Nagle's algorithm must be off: with it a part of a request may wait 40 ms for an acknowledgement."""
    assert load.exit_code == 0, load.output


def test_a_missing_slo_toml_must_be_drafted_from_the_space(bench: Bench) -> None:
    report = bench.path("load.html")
    command = typed(
        "preflight load http://127.0.0.1:7860", {"http://127.0.0.1:7860": bench.stub()[1]}
    )
    run = bench.types(command, "-t", 3, "--report-dir", "here", report=report)
    slo = tomllib.loads((report.parent / "slo.toml").read_text())
    assert slo.keys() == {"GET /", "GET /health", "GET /items"}, run.output
    assert slo["GET /items"]["path"] == "/items?page=2"
    assert "DELETE /items (may change something)" in (report.parent / "slo.toml").read_text()
    assert json.loads((report.parent / "here" / "load.json").read_text())["people"]
    again = bench.types(command, "-t", 3, "--report-dir", "here", report=report)
    assert "drafted" not in again.output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["no/such/place"], "is invalid: name a folder, a URL such as"),
        (["https://space.example.com"], "A load test of another machine needs its owner's consent"),
        (["acme/space"], "acme-space.hf.space is not this machine's"),
        (["http://127.0.0.1:1"], "http://127.0.0.1:1 does not answer (GET /: "),
        (["http://127.0.0.1:1", "--shape", "round"], "must be one of steady, smoke"),
        (["http://127.0.0.1:1", "--rate", "-1"], "--rate"),
        (["compare", "none.json", "none.json"], "none.json cannot be read: No such file"),
        (["compare", *[f"{ROOT}/manifest.json"] * 2], "is not a load.json of this version"),
    ],
)
def test_an_invalid_target_must_be_refused_with_a_fix(
    bench: Bench, arguments: list[str], complaint: str
) -> None:
    run = bench.preflight(*arguments, report=bench.path("load.html"))
    assert run.exit_code == 2, run.output
    assert complaint in run.output
    assert "Traceback" not in run.output


def test_a_folder_must_be_built_and_run_behind_the_edge(bench: Bench, tmp_path: Path) -> None:
    space = ROOT / "tests" / "selftest" / "spaces" / "static_files"
    command = typed("preflight load my-space", {"my-space": shlex.quote(str(space))})
    slo = bench.path("slo.toml")
    slo.write_text(ROOT_ONLY + "[generator]\ncpu = 9\nlate_ms = 3000\nsteal = 1\nbusy = 1\n")
    run = bench.types(
        command, "-t", 4, "--slo", slo, "--report-dir", tmp_path, report=tmp_path / "load.html"
    )
    assert run.exit_code == 0, run.output
    assert run.verdict["targets"][""].startswith("https://acme-static-files.hf.localhost:")
