"""Health, database outages, and process ends."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from functools import partial

import pytest
import requests

from preflight.engine.container import Container
from preflight.engine.docker import docker
from tests.backend_node.calling import COOKIE, PASSWORD, Caller, a_mail, code, set_cookies
from tests.backend_node.conftest import NewDatabase, Postgres, StartAuth
from tests.waiting import eventually


@pytest.fixture(scope="module")
def without_database(
    start_for_all: StartAuth, postgres: Postgres
) -> tuple[Container, list[requests.Response], float]:
    """A server that started during a database outage: its answers then, and its seconds to readiness afterwards."""
    url = postgres.database()
    docker("stop", "--time=1", postgres.container.id)
    try:
        server = start_for_all(ready=False, DATABASE_URL=url)
        server.wait_until_serving("/health", status=200)
        answers = [server.get("/health"), server.get("/ready"), Caller(server).sign_in()]
    finally:
        postgres.revive()
    revived = time.monotonic()
    server.wait_until_serving("/ready", status=200)
    return server, answers, time.monotonic() - revived


@pytest.fixture(scope="module")
def on_sqlite(start_for_all: StartAuth, new_database: NewDatabase) -> Container:
    return start_for_all(DATABASE_URL=new_database("sqlite"))


@pytest.fixture
def server(kind: str, request: pytest.FixtureRequest) -> Container:
    """The server on each database that tests may stop. It is ready, whatever an earlier test did to it."""
    found: Container = (
        request.getfixturevalue("on_sqlite")
        if kind == "sqlite"
        else request.getfixturevalue("without_database")[0]
    )
    if found.state["Status"] != "running":
        found.start_again()
    found.wait_until_serving("/ready", status=200)
    return found


@pytest.fixture
def frail_postgres(postgres: Postgres) -> Iterator[Postgres]:
    """A Postgres that the test may stop; it runs again after the test."""
    yield postgres
    postgres.revive()


def away(answer: requests.Response) -> bool:
    return code(answer) == (503, "DATABASE_UNAVAILABLE") and int(answer.headers["Retry-After"]) > 0


def test_must_tell_that_it_lives(server: Container, kind: str) -> None:
    """Liveness must answer GET with JSON and HEAD without a body."""
    health = server.get("/health")
    state = "embedded" if kind == "sqlite" else "connected"
    assert health.json() == {"status": "ok", "version": "1.0", "services": {"database": state}}
    head = server.head("/health")
    assert (head.status_code, head.content) == (200, b"")


def test_must_tell_that_it_is_ready(server: Container, kind: str) -> None:
    """Readiness must name the database, and whether its data outlives the container."""
    ready = server.get("/ready").json()
    assert ready == {"status": "ready", "database": kind, "durable": kind == "postgres"}


def test_must_wait_for_its_database(
    without_database: tuple[Container, list[requests.Response], float],
) -> None:
    """A server must wait for a database that starts late instead of exiting."""
    _, (health, ready, sign_in), seconds = without_database
    assert health.json()["status"] == "degraded"
    assert health.json()["services"] == {"database": "disconnected"}
    assert away(ready)
    assert away(sign_in)
    assert seconds < 15


@pytest.mark.parametrize("kind", ["postgres"])
@pytest.mark.parametrize("how", ["kill", "pause"])
def test_must_say_that_its_database_is_away(
    server: Container, frail_postgres: Postgres, how: str
) -> None:
    """During an outage each endpoint must report it and sign no user out; afterwards the server must recover."""
    ada, leaving = Caller(server), Caller(server)
    for caller in (ada, leaving):
        assert caller.sign_up().status_code == 200
    docker(how, frail_postgres.container.id)

    # A paused Postgres carries a sign-out out once it goes on, so another user sends it.
    calls: list[Callable[[], requests.Response]] = [
        *(ada.sign_in, ada.sign_up, partial(leaving.post, "/sign-out")),
        *(partial(ada.get, path) for path in ("/get-session", "/list-sessions")),
    ]
    deadline = time.monotonic() + 10
    with ThreadPoolExecutor(len(calls)) as pool:
        answers = [pool.submit(call) for call in calls]
        while wait(answers, timeout=0.05).not_done:
            assert away(server.get("/ready"))
            assert time.monotonic() < deadline, "a caller waits for an unreachable database"
    for answer in (pending.result() for pending in answers):
        assert away(answer)
        assert answer.headers["Access-Control-Allow-Origin"] == ada.origin
        assert not set_cookies(answer), "the cookie is kept"
    assert away(server.get("/ready"))
    assert server.get("/health").status_code == 200
    assert Caller(server).session() is None, "no user is known without the database too"

    frail_postgres.revive()
    eventually("ready after the outage", 5, lambda: server.get("/ready").status_code == 200)
    # The library goes on with a refused sign-in, which must not replace the session that ada holds.
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        assert ada.session()["user"]["email"] == ada.mail, "still signed in"
        time.sleep(0.1)
    assert len(ada.get("/list-sessions").json()) == 1
    assert ada.post("/sign-out").status_code == 200
    assert ada.session() is None
    assert server.state["Status"] == "running"


def test_must_finish_what_it_has_begun(server: Container) -> None:
    """SIGTERM must end the server after its last answer, and a restart must keep all data."""
    ada = Caller(server)
    assert ada.sign_up().status_code == 200
    callers = [Caller(server) for _ in range(8)]
    for caller in callers:
        # A separate connection, open before the signal.
        assert caller.get("/ok").status_code == 200
    body = {"email": ada.mail, "password": PASSWORD}
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(caller.post, "/sign-in/email", body) for caller in callers]
        wait(answers, timeout=30, return_when=FIRST_COMPLETED)
        server.signal("SIGTERM")
        statuses = [answer.result().status_code for answer in answers]
    assert statuses == [200] * 8
    end = server.wait_for_exit(10)
    assert end is not None
    assert end.code == 0
    with pytest.raises(requests.ConnectionError):
        server.get("/health")

    server.start_again()
    server.wait_until_serving("/ready", status=200)
    assert ada.session()["user"]["email"] == ada.mail, "the session must outlive a restart"
    events = [json.loads(line) for line in server.logs().splitlines()]
    tables = [event["tables"] for event in events if "tables" in event]
    changed = {event["changed"] for event in events if "tables" in event}
    assert tables[0] > 0, "the first start must create the tables"
    assert {*tables[1:]} == changed == {0}, "later starts must change no table"


def test_must_lose_no_acknowledged_sign_up(server: Container, kind: str) -> None:
    """Each acknowledged sign-up must have an account after a kill."""

    def sign_up(mail: str) -> str | None:
        try:
            return mail if Caller(server).sign_up(email=mail).status_code == 200 else None
        except requests.RequestException:
            return None

    with ThreadPoolExecutor(4) as pool:
        results = [pool.submit(sign_up, a_mail()) for _ in range(20)]
        while sum(result.done() for result in results) < 5:
            wait(results, timeout=0.005)
        server.signal("SIGKILL")
        acknowledged = [mail for result in results if (mail := result.result())]
    assert 5 <= len(acknowledged) < 20, "the kill did not hit during the sign-ups"

    server.start_again()
    server.wait_until_serving("/ready", status=200)
    for mail in acknowledged:
        returning = Caller(server)
        returning.mail = mail
        answer = returning.sign_in()
        assert answer.status_code == 200
        assert any(cookie.startswith(f"{COOKIE}=") for cookie in set_cookies(answer))
    if kind == "sqlite":
        check = (
            "const { DatabaseSync } = require('node:sqlite');"
            "console.log(new DatabaseSync('/home/node/auth.db').prepare('PRAGMA integrity_check').get())"
        )
        assert "'ok'" in docker("exec", server.id, "node", "-e", check).stdout
