"""A database that goes away, and processes that end."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import requests
from backend_node.calling import COOKIE, PASSWORD, Caller, a_mail, code, set_cookies
from backend_node.conftest import NewDatabase, Postgres, StartAuth
from preflight.docker import docker


def away(answer: requests.Response) -> bool:
    return code(answer) == (503, "DATABASE_UNAVAILABLE") and int(answer.headers["Retry-After"]) > 0


def test_must_wait_for_its_database(start_auth: StartAuth, frail_postgres: Postgres) -> None:
    """Rows 6 and 12. A database that comes late is not a reason to end."""
    url = frail_postgres.database()
    docker("stop", "--time=1", frail_postgres.container.id)
    server = start_auth(ready=False, DATABASE_URL=url)
    server.wait_until_serving("/health", status=200)
    health = server.get("/health").json()
    assert health["status"] == "degraded"
    assert health["services"] == {"database": "disconnected"}
    assert away(server.get("/ready"))
    assert away(Caller(server).sign_in())

    frail_postgres.revive()
    started = time.monotonic()
    server.wait_until_serving("/ready", status=200)
    assert time.monotonic() - started < 15
    assert server.get("/health").json()["status"] == "ok"


@pytest.mark.parametrize("how", ["kill", "pause"])
def test_must_say_that_its_database_is_away(
    start_auth: StartAuth, frail_postgres: Postgres, how: str
) -> None:
    """Rows 12, 26, 47, 67 and 68. In an outage all say so, nobody is signed out, and it passes."""
    server = start_auth(DATABASE_URL=frail_postgres.database())
    ada = Caller(server)
    ada.sign_up()
    docker(how, frail_postgres.container.id)

    calls: list[Callable[[], requests.Response]] = [
        *(ada.sign_in, ada.sign_up, partial(ada.post, "/sign-out")),
        *(partial(ada.get, path) for path in ("/get-session", "/list-sessions")),
    ]
    deadline = time.monotonic() + 10
    with ThreadPoolExecutor(len(calls)) as pool:
        answers = [pool.submit(call) for call in calls]
        while not all(answer.done() for answer in answers):
            assert away(server.get("/ready"))
            assert time.monotonic() < deadline, "somebody waits for a database that is away"
    for answer in (one.result() for one in answers):
        assert away(answer)
        assert answer.headers["Access-Control-Allow-Origin"] == ada.origin
        assert not set_cookies(answer), "the cookie is kept"
    assert away(server.get("/ready"))
    assert server.get("/health").status_code == 200
    assert Caller(server).session() is None, "nobody is known without the database too"

    frail_postgres.revive()
    deadline = time.monotonic() + 5
    while server.get("/ready").status_code != 200:
        assert time.monotonic() < deadline, "it did not recover within 5 s"
        time.sleep(0.05)
    assert ada.session()["user"]["email"] == ada.mail, "still signed in"
    assert ada.post("/sign-out").status_code == 200
    assert ada.session() is None
    assert server.state["Status"] == "running"


def test_must_finish_what_it_has_begun(
    start_auth: StartAuth, kind: str, new_database: NewDatabase
) -> None:
    """Row 69. SIGTERM ends the server after its last answer."""
    server = start_auth(DATABASE_URL=new_database(kind))
    ada = Caller(server)
    ada.sign_up()
    callers = [Caller(server) for _ in range(8)]
    for caller in callers:
        # A connection of its own, open before the signal.
        assert caller.get("/ok").status_code == 200
    body = {"email": ada.mail, "password": PASSWORD}
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(one.post, "/sign-in/email", body) for one in callers]
        deadline = time.monotonic() + 30
        while '"/api/auth/sign-in/email"' not in server.logs():
            assert time.monotonic() < deadline, "no sign-in was answered within 30 s"
            time.sleep(0.005)
        server.signal("SIGTERM")
        statuses = [answer.result().status_code for answer in answers]
    assert statuses == [200] * 8
    end = server.wait_for_exit(10)
    assert end is not None
    assert end.code == 0
    with pytest.raises(requests.ConnectionError):
        server.get("/health")


def test_must_lose_no_acknowledged_sign_up(
    start_auth: StartAuth, kind: str, new_database: NewDatabase
) -> None:
    """Row 70. Whoever was told that he has an account has one, after a kill too."""
    server = start_auth(DATABASE_URL=new_database(kind))

    def sign_up(mail: str) -> str | None:
        try:
            return mail if Caller(server).sign_up(email=mail).status_code == 200 else None
        except requests.RequestException:
            return None

    with ThreadPoolExecutor(4) as pool:
        results = [pool.submit(sign_up, a_mail()) for _ in range(60)]
        while sum(result.done() for result in results) < 10:
            time.sleep(0.005)
        server.signal("SIGKILL")
        acknowledged = [mail for result in results if (mail := result.result())]
    assert 10 <= len(acknowledged) < 60, "it was killed in the midst of them"

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
