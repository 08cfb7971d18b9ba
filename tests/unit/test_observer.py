"""The observer must report a container's connections and listeners, and refuse what the Hub refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from preflight.engine.docker import docker
from preflight.engine.image import stand_in
from preflight.engine.observer import Connection, Listener, Observer, listeners
from preflight.engine.run import Run
from preflight.model.hub_profile import DOCUMENTED_PORTS, HUB

PYTHON = "python:3.11-slim-bookworm"
# Connects to each ADDRESS PORT, and prints each outcome.
CONNECT = """
import errno, json, socket, sys
socket.create_server(("127.0.0.1", 5000))
here = socket.create_server(("127.0.0.1", 5001))
socket.create_connection(("127.0.0.1", 5001))
for name in ("localhost", "directory.example.invalid"):
    try:
        socket.getaddrinfo(name, 443)
    except OSError:
        pass
for address, port in zip(sys.argv[1::2], map(int, sys.argv[2::2])):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as connecting:
        connecting.settimeout(5)
        print(errno.errorcode.get(connecting.connect_ex((address, port)), "connected"))
with socket.socket(type=socket.SOCK_DGRAM) as telling:
    telling.connect_ex((sys.argv[1], 8125))
    try:
        telling.send(b"refused")
    except OSError:
        print("not sent")
"""


@pytest.fixture(scope="module")
def network(run: Run) -> Iterator[str]:
    """A network of this run with addresses of both families."""
    name = f"{run.id}-observed"
    docker(
        "network", "create", "--internal", "--ipv6", "--subnet=fd00:5afe:5ace::/64", *run.labels, name
    )  # fmt: skip
    yield name
    docker("network", "rm", name, check=False)


@pytest.fixture(scope="module")
def destination(run: Run, network: str) -> Iterator[tuple[str, str]]:
    """Both addresses of a container of this run, which answers on ports 80 and 5432."""
    serve = "import socket, time; held = [socket.create_server(('::', port), family=socket.AF_INET6, dualstack_ipv6=True) for port in (80, 5432)]; time.sleep(300)"
    other = docker(
        "run", "--detach", *run.labels, f"--network={network}", stand_in(PYTHON) or PYTHON,
        "python", "-c", serve,
    ).stdout.split()[-1]  # fmt: skip
    (own,) = json.loads(docker("inspect", other).stdout)[0]["NetworkSettings"]["Networks"].values()
    yield own["IPAddress"], own["GlobalIPv6Address"]
    docker("rm", "--force", other, check=False)


@pytest.fixture(scope="module")
def connections(
    run: Run, network: str, destination: tuple[str, str]
) -> Iterator[tuple[list[str], list[Connection]]]:
    """A container's connections to ports 80 and 5432 of both addresses: its output, and the report."""
    with pytest.MonkeyPatch.context() as patch:
        # Only the profile `documented` refuses.
        patch.setattr(HUB, "outbound_ports", DOCUMENTED_PORTS)
        observer = Observer.start(run, 7860)
    docker("network", "connect", network, observer.id)
    asked = [word for address in destination for word in (address, "80", address, "5432")]
    try:
        done = docker(
            "run", "--rm", *run.labels, f"--network=container:{observer.id}", "--user=1000",
            stand_in(PYTHON) or PYTHON, "python", "-c", CONNECT, *asked,
        )  # fmt: skip
        yield done.stdout.splitlines(), observer.connections()
    finally:
        observer.remove()


def test_reports_each_outgoing_connection_and_no_inner_one(
    connections: tuple[list[str], list[Connection]], destination: tuple[str, str]
) -> None:
    """Each outgoing connection must be reported with the names looked up before, but not loopback."""
    _, seen = connections
    ipv4, ipv6 = destination
    assert [
        (connection.address, connection.port, connection.protocol, connection.refused)
        for connection in seen
    ] == [
        (ipv4, 80, "tcp", False),
        (ipv4, 5432, "tcp", True),
        (ipv6, 80, "tcp", False),
        (ipv6, 5432, "tcp", True),
        (ipv4, 8125, "udp", True),
    ]
    assert "directory.example.invalid" in str(seen[0])


def test_refuses_ports_that_the_hub_blocks(connections: tuple[list[str], list[Connection]]) -> None:
    """Port 80 must be reached; 5432, although it listens, and UDP must fail as on the Hub, in both families."""
    printed, _ = connections
    assert printed == ["connected", "ENETUNREACH", "connected", "ENETUNREACH", "not sent"]


def test_lists_listening_sockets_but_not_its_own(run: Run) -> None:
    """Listening sockets must be listed, without the silent port of the observer itself."""
    observer = Observer.start(run, 7860, silent=True, failing=True)
    try:
        assert observer.listening() == [Listener("0.0.0.0", 7860)]
    finally:
        observer.remove()


def test_reads_the_kernel_tables() -> None:
    """Addresses of both families must be read; only listening sockets count."""
    tables = """  sl  local_address rem_address   st tx_queue
   0: 0100007F:1EB4 00000000:0000 0A 00000000:00000000
   1: 0100007F:1EB5 0100007F:8000 01 00000000:00000000
   2: 00000000000000000000000000000000:1F40 00000000000000000000000000000000:0000 0A 00000000
   3: 00000000000000000000000001000000:1F41 00000000000000000000000000000000:0000 0A 00000000
"""
    found = listeners(tables)
    assert [str(listener) for listener in found] == ["127.0.0.1:7860", "[::]:8000", "[::1]:8001"]
    assert [listener.loopback for listener in found] == [True, False, True]
