"""Little memory, a full disk, and signals during work."""

from __future__ import annotations

import http.client
import json
import secrets
import statistics
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest

from preflight.engine.container import Container
from preflight.engine.docker import docker
from tests.backend_node.calling import PASSWORD, Caller, code
from tests.backend_node.conftest import NewDatabase, StartAuth
from tests.backend_node.loading import hashes_a_second
from tests.waiting import eventually

SHORT = pytest.param(2, id="2")
LONG = pytest.param(20, id="20", marks=pytest.mark.thorough)
CLIENTS = 32


def test_must_sign_up_in_little_memory(start_auth: StartAuth) -> None:
    """Twenty simultaneous sign-ups must all succeed in 128 MB, repeatedly."""
    server = start_auth(options=("--memory=128m", "--memory-swap=128m"))
    with ThreadPoolExecutor(20) as pool:
        for _ in range(3):
            answers = [pool.submit(Caller(server).sign_up) for _ in range(20)]
            assert [answer.result().status_code for answer in answers] == [200] * 20
    assert server.state["Status"] == "running"
    assert not server.state["OOMKilled"]


def test_must_say_that_its_disk_is_full(start_auth: StartAuth) -> None:
    """A full disk must make writes and readiness 503 with the cause. Reads must work, and writes again after cleanup."""
    small = "--tmpfs=/home/node:size=8m,uid=1000,gid=1000"
    server = start_auth(options=("--read-only", "--tmpfs=/tmp", small))
    ada = Caller(server)
    assert ada.sign_up().status_code == 200
    fill = "cat /dev/zero > /home/node/filler; true"
    docker("exec", server.id, "sh", "-c", fill, check=False)

    # The last pages may have room for a user or two.
    refused = next(
        answer for _ in range(200) if (answer := Caller(server).sign_up()).status_code != 200
    )
    assert code(refused) == (503, "DATABASE_FULL")
    assert int(refused.headers["Retry-After"]) > 0
    ready = server.get("/ready")
    assert code(ready) == (503, "DATABASE_FULL")
    assert server.get("/health").status_code == 200
    assert ada.session()["user"]["email"] == ada.mail, "reads must work"

    docker("exec", server.id, "rm", "/home/node/filler")
    server.wait_until_serving("/ready", 10, status=200)
    assert Caller(server).sign_up().status_code == 200
    assert ada.sign_in().status_code == 200


@pytest.mark.alone
@pytest.mark.parametrize("stops", [SHORT, LONG])
def test_must_lose_no_request_when_it_stops(start_auth: StartAuth, stops: int) -> None:
    """After SIGTERM under the load of 32 clients, each accepted request must get its answer within two seconds."""
    server = start_auth()
    # On slower CPUs the hashes of the accepted requests take longer.
    most = 2 * max(1, 45 / hashes_a_second(server))
    took = []
    for _ in range(stops):
        clients = load(server)
        server.signal("SIGTERM")
        end = server.wait_for_exit(10)
        assert end is not None
        assert end.code == 0
        for client in clients:
            client.join(60)
        assert [lost for client in clients for lost in client.lost] == []
        took.append(seconds_to_stop(server))
        server.start_again()
        server.wait_until_serving("/ready", status=200)
    # Other load makes a stop longer, never shorter.
    assert statistics.median_low(took) <= most


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
@pytest.mark.parametrize("kills", [SHORT, LONG])
def test_must_lose_no_account_when_it_is_killed(
    start_auth: StartAuth, new_database: NewDatabase, kind: str, kills: int
) -> None:
    """After SIGKILL during sign-ups, each acknowledged user must have an account, every time."""
    server = start_auth(DATABASE_URL=new_database(kind))
    for _ in range(kills):
        clients = load(server)
        server.signal("SIGKILL")
        assert server.wait_for_exit(10) is not None
        for client in clients:
            client.join(60)
        kept = [mail for client in clients for mail in client.kept]
        assert kept, "no sign-up was acknowledged before the kill"
        server.start_again()
        server.wait_until_serving("/ready", status=200)
        with ThreadPoolExecutor(8) as pool:
            assert {*pool.map(lambda mail: sign_in(server, mail), kept)} == {200}


def load(server: Container) -> list[Client]:
    """Clients that have signed up several users and continue."""
    # The container's own address: the engine's proxy accepts connections that never reach the server.
    (network,) = server.inspection["NetworkSettings"]["Networks"].values()
    clients = [Client(network["IPAddress"]) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    eventually(
        "an answer for each client", 60, lambda: sum(each.answered for each in clients) >= CLIENTS
    )
    return clients


def sign_in(server: Container, mail: str) -> int:
    returning = Caller(server)
    returning.mail = mail
    return returning.sign_in().status_code


def seconds_to_stop(server: Container) -> float:
    """Seconds between the last `stopping` and `stopped` lines of the log."""
    lines = [json.loads(line) for line in server.logs().splitlines()]
    times = {line["msg"]: datetime.fromisoformat(line["time"]) for line in lines}
    return (times["stopped"] - times["stopping"]).total_seconds()


class Client(threading.Thread):
    """Signs users up over kept connections, each after the last, until the server accepts no new connection."""

    def __init__(self, host: str) -> None:
        super().__init__(daemon=True)
        self.host = host
        self.answered = 0
        self.lost: list[str] = []
        self.kept: list[str] = []

    def run(self) -> None:
        while True:
            connection = http.client.HTTPConnection(self.host, 7860, timeout=60)
            try:
                connection.connect()
            except OSError:
                return
            while self._sign_up(connection):
                pass
            connection.close()

    def _sign_up(self, connection: http.client.HTTPConnection) -> bool:
        """Whether the connection can carry another request."""
        mail = f"{secrets.token_hex(8)}@example.com"
        body = json.dumps({"name": "Ada", "email": mail, "password": PASSWORD})
        headers = {"Content-Type": "application/json", "X-Forwarded-For": somewhere()}
        try:
            connection.request("POST", "/api/auth/sign-up/email", body, headers)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.lost.append(repr(error))
            return False
        self.answered += 1
        if answer.status == 200:
            self.kept.append(mail)
        return answer.getheader("Connection") != "close"


def somewhere() -> str:
    """An address that few other callers have."""
    return f"203.{'.'.join(str(secrets.randbelow(256)) for _ in range(3))}"
