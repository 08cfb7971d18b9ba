"""One client must not exhaust the service for others, and a stop must not cut a stream silently."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
from requests import RequestException

from preflight.engine.container import Container, stretched
from tests.backend_py.asking import (
    ORIGIN,
    QUESTION,
    Event,
    ask,
    assert_stops,
    code_of,
    events,
    open_stream,
)
from tests.backend_py.conftest import COMMON, StartPy
from tests.backend_py.test_figures import resident
from tests.doubles.running import Upstreams
from tests.waiting import eventually

LIMIT = 5


@pytest.fixture(scope="module")
def limited(_shared: StartPy) -> Container:
    """The Space with five requests per minute and client address; each test uses a different address."""
    environment = {"RAG_MODE": "embedded", "CORS_ORIGINS": ORIGIN, "RATE_PER_MINUTE": str(LIMIT)}
    return _shared(environment, [])


def statuses(space: Container, forwarded: Iterator[str]) -> list[int]:
    """Statuses of LIMIT + 1 requests, each with the next X-Forwarded-For."""
    return [
        space.post(
            "/chat", json={"question": QUESTION}, headers={"X-Forwarded-For": next(forwarded)}
        ).status_code
        for _ in range(LIMIT + 1)
    ]


def test_limit_of_one_client(limited: Container) -> None:
    """The request above the limit must get a readable 429; probes must not be limited."""
    for _ in range(LIMIT):
        assert ask(limited).status_code == 200
    answer = limited.post("/chat", json={"question": QUESTION}, headers={"Origin": ORIGIN})
    assert (answer.status_code, code_of(answer)) == (429, "rate_limited")
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert limited.get("/health").status_code == 200
    request = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    assert limited.options("/chat", headers=request).status_code in (200, 204)


def test_forged_addresses(limited: Container) -> None:
    """A forged X-Forwarded-For entry must not give a client a new budget."""
    forged = (f"10.0.0.{n}, 203.0.113.9" for n in range(LIMIT + 1))
    assert statuses(limited, forged)[-1] == 429


def test_clients_behind_the_edge(limited: Container) -> None:
    """Two clients must have separate budgets, by the entry that the edge adds."""
    assert statuses(limited, iter(["203.0.113.1"] * (LIMIT + 1)))[-1] == 429
    assert statuses(limited, iter(["203.0.113.2"] * LIMIT + ["203.0.113.3"])) == [200] * (LIMIT + 1)


@pytest.mark.usefixtures("cloud")
def test_limit_of_all_together(start_space: StartPy, upstreams: Upstreams) -> None:
    """Requests above GLOBAL_PER_MINUTE must be answered from the index, without a call to the model."""
    environment = {**COMMON, **upstreams.environment, "GLOBAL_PER_MINUTE": "2"}
    space = start_space("backend-py", environment, upstreams.network)
    space.wait_until_serving("/health", status=200)
    modes = [ask(space).json()["mode"] for _ in range(4)]
    assert modes == ["generated", "generated", "extractive", "extractive"]
    assert len(upstreams.calls("/v2/chat")) == 2


def test_endless_header(embedded: Container) -> None:
    """A header of 300 MB must be refused without being buffered."""
    ask(embedded)
    before = resident(embedded)
    host, _, port = embedded.url.removeprefix("http://").partition(":")
    sent = 0
    with socket.create_connection((host, int(port)), timeout=10) as client:
        with suppress(ConnectionError):
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
            while sent < 300:
                client.sendall(b"x" * 1_000_000)
                sent += 1
        with suppress(ConnectionError):
            assert client.recv(65_536).startswith(b"HTTP/1.1 431 ")
    assert resident(embedded) - before < 10
    assert embedded.get("/health").status_code == 200


@pytest.mark.thorough
def test_half_sent_heads(embedded: Container) -> None:
    """Each of 500 unfinished request heads must be refused with 408 within 10 s."""
    host, _, port = embedded.url.removeprefix("http://").partition(":")
    with ExitStack() as stack:
        clients = []
        for _ in range(500):
            client = socket.create_connection((host, int(port)), timeout=stretched(15))
            clients.append(stack.enter_context(client))
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        assert embedded.get("/health").status_code == 200
        for client in clients:
            assert client.recv(65_536).startswith(b"HTTP/1.1 408 ")


def test_signalled_twice(start_space: StartPy) -> None:
    """A second SIGTERM must change nothing: an idle Space must exit with code 0 within a second."""
    space = start_space("backend-py", {**COMMON, "RAG_MODE": "embedded"})
    space.wait_until_serving("/health", status=200)
    for _ in range(2):
        space.signal("SIGTERM")
    assert_stops(space)


@pytest.mark.usefixtures("cloud")
def test_stops_with_an_open_stream(start_space: StartPy, upstreams: Upstreams) -> None:
    """An open stream must end with `shutting_down`, and new requests must get 503 or no connection."""
    space = start_space("backend-py", {**COMMON, **upstreams.environment}, upstreams.network)
    space.wait_until_serving("/health", status=200)
    upstreams.answer(text="word " * 1000, delay_ms=100)
    with open_stream(space) as response:
        received = events(response)
        assert next(e for e in received if isinstance(e, Event) and e.name == "delta")
        space.signal("SIGTERM")
        signalled = time.monotonic()
        rest = [event for event in received if isinstance(event, Event)]
    assert rest[-1] == Event("error", {"code": "shutting_down", "retryable": True})
    assert time.monotonic() - signalled < 2
    # A refused connection is correct too: the server no longer listens.
    with suppress(RequestException):
        assert ask(space).status_code == 503
    done = space.wait_for_exit(10)
    assert done and done.code == 0


def test_request_ids(embedded: Container) -> None:
    """Every answer must carry a unique request id, and its log line the same id."""
    answers = [
        embedded.get("/"),
        embedded.get("/nowhere"),
        embedded.get("/health"),
        embedded.post("/chat", json={}),
        embedded.post("/chat", json={}, headers={"Origin": "https://other.example"}),
        embedded.options("/chat"),
        ask(embedded),
    ]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert len(set(ids)) == len(ids)
    # The engine collects a line a moment after the answer.
    eventually(
        "the log line of each request",
        5,
        lambda: all(request_id in embedded.logs() for request_id in ids),
    )
    log = embedded.logs()
    for answer, request_id in zip(answers, ids, strict=True):
        (line,) = re.findall(rf".*{request_id}.*", log)
        assert f'"status": {answer.status_code}' in line


def test_only_json_is_logged(embedded: Container) -> None:
    """Each log line must be a JSON object, as log collectors expect."""
    ask(embedded)
    for line in embedded.logs().splitlines():
        assert line.startswith('{"time": "') and line.endswith("}"), line
