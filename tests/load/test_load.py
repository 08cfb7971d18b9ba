"""Short runs against both Spaces."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from preflight.engine import install as engine
from preflight.engine.container import Container
from preflight.engine.docker import docker
from preflight.engine.edge import Edge
from preflight.engine.run import Run
from preflight.load.watch import Watched
from preflight.model.hub_profile import HUB

from .conftest import ALL_ACTIVE, ROOT, Bench, LoadRun, wait_for

PEOPLE = ["-u", 10, "-r", 10]


@pytest.fixture(scope="module")
def bench(
    bench: Bench, run: Run, backend_py: Container, backend_node: Container
) -> Iterator[Bench]:
    if engine.host() != "127.0.0.1":
        pytest.skip("the edge's names resolve to this machine, but the engine runs on another")
    bench.spaces = {"backend-py": backend_py, "backend-node": backend_node}
    with (
        Edge(run, bench.spaces) as edge,
        Edge(run, {}, {"X_FORWARDED_FOR": "kept"}) as sleeping_edge,
    ):
        bench.edge, bench.sleeping_edge = edge, sleeping_edge
        yield bench


def through(edge: Edge) -> list[str]:
    """Options that send the load through an edge and trust its certificate authority."""
    names = ("backend-py", "backend-node")
    hosts = {name: HUB.host(name).replace(".hf.space", ".hf.localhost") for name in names}
    urls = [part for n in names for part in (f"--{n}", f"https://{hosts[n]}:{edge.port}")]
    return [*urls, "--ca", str(edge.space("any").http.verify)]


def both_spaces(bench: Bench) -> LoadRun:
    targets = [part for n, space in bench.spaces.items() for part in (f"--{n}", space.url)]
    return bench.run(*PEOPLE, "-t", "10s", *targets)


@pytest.mark.parametrize("load", [both_spaces], indirect=True)
def test_both_spaces_must_answer_many_people_at_once(load: LoadRun) -> None:
    """`make load` must hold; shorter and without latency limits, because other tests run beside it."""
    assert load.exit_code == 0, load.output


def waking(bench: Bench) -> LoadRun:
    report = bench.path("load.html")
    run = ["--headless", "--html", report, "--slo", bench.slo(), "-u", 4, "-r", 4, "-t", "10s"]
    locust = bench.start(*run, "--shape", "wake", *through(bench.sleeping_edge))
    wait_for(locust, *ALL_ACTIVE)
    time.sleep(1)  # the Spaces stay asleep for a while
    for name, space in bench.spaces.items():
        bench.sleeping_edge.add(name, space)
    return bench.finish(locust, report)


@pytest.mark.parametrize("load", [waking], indirect=True)
def test_the_first_requests_after_sleep_must_be_judged_through_the_edge(load: LoadRun) -> None:
    """The edge's responses while a Space wakes must not fail; from the Space's first response all must count."""
    assert load.exit_code == 0, load.output
    assert "backend-py woke after " in load.output
    assert "backend-node woke after " in load.output
    assert set(load.rows("limited").values()) == {0}


def many_at_one_address(bench: Bench) -> LoadRun:
    return bench.run(*PEOPLE, "-t", "5s", "--tags", "backend-py", *through(bench.edge))


@pytest.mark.alone
@pytest.mark.parametrize("load", [many_at_one_address], indirect=True)
def test_people_with_a_shared_address_must_be_reported(load: LoadRun) -> None:
    """A run must name the shared address: the Hub's edge appends the generator's, so Spaces limit all its people."""
    assert load.exit_code == 1, load.output
    assert "POST backend-py/chat" in load.reasons
    assert "does not distinguish them by X-Forwarded-For" in load.reasons


def hammered(bench: Bench) -> LoadRun:
    files = ["-f", f"{ROOT}/loadtests,{ROOT}/tests/load/hammer.py"]
    people = ["Hammer", "BackendNodeMonitor", "-u", 50, "-r", 50, "-t", "3s"]
    target = ["--backend-node", bench.spaces["backend-node"].url]
    strict = {"cpu": 0.9, "late_ms": 30, "busy": 0.3}
    return bench.run(*files, *people, *target, slo=bench.slo(generator=strict))


@pytest.mark.parametrize("load", [hammered], indirect=True)
def test_a_generator_slower_than_the_space_must_make_the_run_invalid(load: LoadRun) -> None:
    """A run must be invalid if the Space answers faster than the generator sends. On a busy machine other
    work may be what starves the generator."""
    assert load.exit_code == 2, load.output
    assert "the generator was" in load.reasons or "this machine had other work" in load.reasons


def test_disk_and_connections_of_a_space_must_be_watched(
    start_space: Callable[..., Container],
) -> None:
    """Disk must include every place that a container writes to; connections must include all open sockets."""
    if os.geteuid():
        pytest.skip("only root may inspect another user's process")
    environment = {"RAG_MODE": "embedded"}
    space = start_space("backend-py", environment, ["--tmpfs=/data:uid=1000", "--volume=/kept"])
    space.wait_until_serving("/health", status=200)
    watched = Watched("backend-py", f"container:{space.id}")
    watched.sample(0)
    write = "[open(f'/{name}/file', 'wb').write(bytes(7_000_000)) for name in ('tmp', 'data')]"
    docker("exec", space.id, "python", "-c", write)
    address = (engine.host(), int(space.url.rpartition(":")[2]))
    with ExitStack() as stack:
        for _ in range(12):
            connection = stack.enter_context(socket.create_connection(address))
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
            assert connection.recv(100)
        watched.disk_due = 0
        watched.sample(1)
    assert watched.disk[1] - watched.disk[0] == pytest.approx(14, abs=0.5)
    assert watched.connections[1] - watched.connections[0] == pytest.approx(12, abs=2)
    assert watched.files[1] >= watched.connections[1] > 0
