"""Shutdown and restart: a Space ends when told to, loses no answer, and starts again from its image."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from preflight.contract.findings import report, violated
from preflight.engine.container import Container, Exit
from preflight.engine.docker import docker
from preflight.model.hub_profile import HUB
from preflight.model.problems import Problem, Severity
from preflight.model.space import Space

# Where data is kept, and not a cache: SQLite's and other embedded databases.
DATA = r"\.(db|sqlite3?|duckdb|mdb|rdb)$|/chroma|/qdrant"

Begin = Callable[[], Container]


@dataclass(frozen=True)
class Told:
    """What SIGTERM brought: the first bytes of the answer that was under way, and the end, if one came."""

    answer: bytes
    end: Exit | None


@pytest.fixture(scope="session")
def replicas() -> Iterator[dict[str, Container]]:
    """The second replica of each Space."""
    known: dict[str, Container] = {}
    yield known
    for replica in known.values():
        replica.remove()


@pytest.fixture
def begin(
    space: Space,
    container: Container,
    start_as_on_the_hub: Callable[[Space], Container],
    replicas: dict[str, Container],
) -> Begin:
    """Gives a second replica of the Space, serving; another one where a check has ended it.

    Asks for `container` so that a Space that does not start is one finding: start.serves.
    """

    def replica() -> Container:
        known = replicas.get(space.name)
        if known is None or known.state["Status"] != "running":
            if known is not None:
                known.remove()
            known = replicas[space.name] = start_as_on_the_hub(space)
        known.wait_until_serving()
        return known

    return replica


@pytest.fixture(scope="session")
def heard() -> dict[str, Told]:
    """How each Space took SIGTERM."""
    return {}


@pytest.fixture
def told(space: Space, begin: Begin, heard: dict[str, Told]) -> Callable[[], Told]:
    """Sends SIGTERM to a replica while a request is under way, once for all checks."""

    def tell() -> Told:
        if space.name not in heard:
            heard[space.name] = told_to_end(begin())
        return heard[space.name]

    return tell


def told_to_end(container: Container) -> Told:
    url = urlsplit(container.url)
    with socket.create_connection(
        (url.hostname, url.port), timeout=HUB.stop_deadline
    ) as connection:
        head = f"POST / HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n"
        # The body is complete only after the signal, so the server has begun and can't have ended the request.
        connection.sendall(head.encode() + b'{"a"')
        container.get("/")
        container.signal("SIGTERM")
        try:
            connection.sendall(b": 1}")
            answer = connection.recv(64)
        except OSError as error:
            answer = type(error).__name__.encode()
    return Told(answer, container.wait_for_exit(HUB.stop_deadline))


def test_two_replicas_serve_at_once(container: Container, begin: Begin) -> None:
    """A new replica starts while the old one still serves, as at every update.

    Severity: breaks

    On the Hub: the update never gets ready and the old version goes on serving (stage RUNNING_APP_STARTING).

    Fix: Let a start need no exclusive lock, port or file that the running replica holds.

    Source: huggingface_hub: the stage RUNNING_APP_STARTING.
    """
    replicas = {"old": container, "new": begin()}
    for name, replica in replicas.items():
        if replica.state["Status"] != "running":
            violated(
                expected="both replicas running",
                actual=replica.describe(f"({name} replica) ended"),
            )
    statuses = {name: replica.get("/").status_code for name, replica in replicas.items()}
    assert statuses["old"] == statuses["new"], statuses


def test_starts_again_after_a_kill(begin: Begin) -> None:
    """After SIGKILL the same container serves again: nothing on its disk is in the way.

    Severity: risk; advice without conventions

    On the Hub: nothing where each start gets a container of its own; "Runtime error" after running out of memory once, where it does not

    Fix: Do not rely on pid files, locks or half-written files of an earlier process.

    Source: ours: whether the Hub starts a container again is unknown.
    """
    container = begin()
    container.signal("SIGKILL")
    container.wait_for_exit(HUB.stop_deadline)
    container.start_again()
    container.wait_until_serving()
    written = [
        line.split()[1]
        for line in docker("diff", container.id).stdout.splitlines()
        if line.startswith("A ") and not re.search(r"/__pycache__|\.pyc$|^A /tmp$", line)
    ]
    if written:
        data = [path for path in written if re.search(DATA, path)]
        shown = ", ".join([*data, *(one for one in written if one not in data)][:5])
        report(
            Problem(
                "nothing on the disk that a restart loses",
                f"this Space wrote {shown}" + (" …" if len(written) > 5 else ""),
                "Keep data in a service outside, or in a Storage Bucket mounted by the Space's settings.",
                "data is gone after each restart, rebuild and sleep",
                severity=Severity.RISK if data else Severity.ADVICE,
            )
        )


def test_ends_when_told_to(told: Callable[[], Told]) -> None:
    """On SIGTERM the Space ends by itself with exit code 0 before it is killed.

    Severity: risk; advice without conventions

    On the Hub: every restart and update cuts off what visitors are doing; data that is written on exit is lost.

    Fix: Use the exec form of CMD so that the server itself is PID 1, and handle SIGTERM.

    Source: Docker sends SIGTERM, then SIGKILL; the Hub's own grace period is unknown.
    """
    end = told().end
    if end is None:
        actual = f"still running after {HUB.stop_deadline:g} s"
    elif end.code == 0:
        return
    else:
        actual = f"exit code {end.code} after {end.seconds:.1f} s"
    violated(expected=f"exit code 0 within {HUB.stop_deadline:g} s of SIGTERM", actual=actual)


def test_finishes_requests_in_flight(told: Callable[[], Told]) -> None:
    """A request that is under way at SIGTERM still gets its answer.

    Severity: risk; advice without conventions

    On the Hub: "502 Bad Gateway" or "Failed to fetch" for some visitors at every update.

    Fix: Stop accepting, finish what was begun, then end; most servers do once they receive SIGTERM.

    Source: Docker sends SIGTERM, then SIGKILL; the Hub's own grace period is unknown.
    """
    answer = told().answer
    if answer.startswith(b"HTTP/1."):
        return
    actual = answer.decode(errors="replace") or "the connection was closed without an answer"
    violated(expected="an HTTP answer to the request that was under way", actual=actual)
