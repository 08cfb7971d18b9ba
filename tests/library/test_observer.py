"""The observer: sees from outside a container what it dials and where it listens."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from preflight.docker import docker
from preflight.image import stand_in
from preflight.observer import IMAGE, Listener, Observer, listeners
from preflight.run import Run

DIAL = """
import socket, sys
socket.create_server(("127.0.0.1", 5000))
here = socket.create_server(("127.0.0.1", 5001))
socket.create_connection(("127.0.0.1", 5001))
try:
    socket.getaddrinfo("directory.example.invalid", 443)
except OSError:
    pass
for port in (7860, 5432):
    with socket.socket() as dialling:
        dialling.connect_ex((sys.argv[1], port))
"""


@pytest.fixture
def destination(run: Run) -> Iterator[str]:
    """The address of a container of this run, which answers on port 7860."""
    other = Observer.start(run, 7860, failing=True)
    networks = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    yield docker("inspect", "--format", networks, other.id).stdout.strip()
    other.remove()


def test_reports_each_outgoing_connection_and_no_inner_one(run: Run, destination: str) -> None:
    """Each address and port that is dialled must be reported, accepted or refused; loopback not."""
    observer = Observer.start(run, 7860)
    try:
        docker(
            "run", "--rm", *run.labels, f"--network=container:{observer.id}",
            stand_in(IMAGE) or IMAGE, "python", "-c", DIAL, destination,
        )  # fmt: skip
        seen = observer.connections()
    finally:
        observer.remove()
    assert [(one.address, one.port) for one in seen] == [(destination, 7860), (destination, 5432)]
    assert "directory.example.invalid" in str(seen[0])


def test_lists_listening_sockets_but_not_its_own(run: Run) -> None:
    """What listens in the network must be listed, without the silent port of the observer itself."""
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
    assert [str(one) for one in found] == ["127.0.0.1:7860", "[::]:8000", "[::1]:8001"]
    assert [one.loopback for one in found] == [True, False, True]
