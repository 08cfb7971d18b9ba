"""How often somebody may try, how many at once, and how long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from backend_node.calling import PASSWORD, Caller, a_mail, an_address, code, raw
from backend_node.conftest import Postgres, StartAuth
from backend_node.loading import SESSION, Generator, resident
from preflight.container import Container


@pytest.fixture(scope="module", autouse=True)
def stalled_upload(
    server_on: Callable[[str], Container],
) -> Iterator[Future[tuple[bytes, float]]]:
    """What is answered to 1 byte of 100, and after how many seconds: begun before all tests, because it takes ten."""
    server = server_on("sqlite")

    def send() -> tuple[bytes, float]:
        head = b"POST /api/auth/sign-in/email HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
        started = time.monotonic()
        return raw(server, head, seconds=15), time.monotonic() - started

    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(send)


def guess(stranger: Caller, mail: str, headers: dict[str, str] | None = None) -> int:
    body = {"email": mail, "password": "wrong password"}
    answer = stranger.post("/sign-in/email", body, headers=headers)
    if answer.status_code == 429:
        assert code(answer) == (429, "TOO_MANY_REQUESTS")
        assert 1 <= int(answer.headers["Retry-After"]) <= 300
    return answer.status_code


def test_must_count_guesses_of_an_address(member: Caller) -> None:
    """Rows 60 and 62. What the caller itself writes into X-Forwarded-For counts for nothing."""
    stranger = Caller(member.server)
    seen = [
        guess(stranger, f"{n}-{member.mail}", {"X-Forwarded-For": f"10.0.0.{n}, {stranger.address}"})
        for n in range(15)
    ]  # fmt: skip
    assert seen == [401] * 10 + [429] * 5
    other = Caller(member.server)
    other.mail = member.mail
    answer = other.sign_in()
    assert answer.status_code == 200, f"another address is unaffected: {answer.text}"


def test_must_count_guesses_of_an_account(member: Caller) -> None:
    """Rows 61 and 62. An account that many addresses try is closed to them for a while."""
    seen = [guess(Caller(member.server), member.mail) for _ in range(25)]
    assert seen == [401] * 20 + [429] * 5
    other = Caller(member.server)
    assert other.sign_up().status_code == 200, "another account is unaffected"
    assert other.sign_in().status_code == 200


def test_must_not_count_right_passwords(member: Caller) -> None:
    """Rows 60 and 61. Whoever knows the password never runs out of tries."""
    assert {member.sign_in().status_code for _ in range(25)} == {200}


def test_must_not_punish_polling(member: Caller) -> None:
    """Row 63. Three hundred looks at the session, five minutes of one a second, are none too many."""
    assert {member.get("/get-session").status_code for _ in range(300)} == {200}
    nobody = Caller(member.server)
    assert {nobody.get("/get-session").status_code for _ in range(300)} == {200}


@pytest.mark.parametrize("kind", ["sqlite"])
@pytest.mark.parametrize(
    "header", ["X-Real-IP", "Forwarded", "X-Ip-Token", "X-Auth-Client-Address", "CF-Connecting-IP"]
)
def test_must_not_believe_other_address_headers(member: Caller, header: str) -> None:
    """Row 64. Only the entry that the edge writes tells the address."""
    stranger = Caller(member.server)
    seen = [guess(stranger, f"{n}-{member.mail}", {header: f"192.0.2.{n}"}) for n in range(12)]
    assert seen == [401] * 10 + [429] * 2


def test_must_believe_the_front_end_that_it_knows(start_auth: StartAuth) -> None:
    """Mode A. Users behind a front end's host have limits of their own, but for whoever knows its secret alone."""
    secret = "front-secret-Xw7pQz2mN8"
    server = start_auth(TRUSTED_FRONT_SECRET=secret)
    front, user, other = Caller(server), an_address(), an_address()

    def through_front(address: str, shown: str) -> int:
        forwarded = {"X-Forwarded-For": f"{address}, {front.address}", "X-Front-Secret": shown}
        return guess(front, a_mail(), forwarded)

    assert [through_front(user, secret) for _ in range(11)] == [401] * 10 + [429]
    assert through_front(other, secret) == 401
    assert [through_front(an_address(), secret[:-1]) for _ in range(11)] == [401] * 10 + [429]
    assert secret not in server.logs()


def test_must_limit_sign_ups_and_mails(caller: Caller) -> None:
    """Accounts in bulk, and mails to strangers, are limited for an address."""
    seen = [caller.sign_up(email=f"{n}-{caller.mail}").status_code for n in range(11)]
    assert seen == [200] * 10 + [429]
    asked = [
        caller.post("/request-password-reset", {"email": f"{n}-{caller.mail}"}).status_code
        for n in range(4)
    ]
    assert asked == [400] * 3 + [429]


# With a small heap, or the memory that the engine takes before it collects would hide what is kept.
SMALL_HEAP = "--max-old-space-size=96 --max-semi-space-size=2"


def flood(generator: Generator, server: Container, addresses: int) -> None:
    """Call from as many addresses, once from each."""
    deadline = time.monotonic() + 120
    while addresses > 0:
        load = generator.load(server, "/api/auth/ok", 1, request={"ADDRESSES": "many"})
        assert load.refused == load.failed == 0
        addresses -= load.count
        assert time.monotonic() < deadline, f"{addresses} addresses were left after 120 s"


def test_must_hold_many_addresses(start_auth: StartAuth, generator: Generator) -> None:
    """Row 65. Addresses without number do not fill the memory."""
    server = start_auth(name="many", NODE_OPTIONS=SMALL_HEAP)
    flood(generator, server, 1_000)
    held = resident(server)
    flood(generator, server, 3_000)
    assert resident(server) - held < 20


@pytest.mark.thorough
def test_must_hold_a_hundred_thousand_addresses(
    start_auth: StartAuth, generator: Generator
) -> None:
    """Row 65. Nor do they slow another caller down."""
    server = start_auth(name="many", NODE_OPTIONS=SMALL_HEAP)

    def pace() -> float:
        return generator.load(server, SESSION, 2, 2, {"PACE": "5"}).p99

    flood(generator, server, 1_000)
    before, held = pace(), resident(server)
    flood(generator, server, 100_000)
    assert pace() < 2 * before + 0.001
    assert resident(server) - held < 40


def test_must_answer_all_of_many_sign_ins(start_auth: StartAuth) -> None:
    """Row 66. Of 64 sign-ins at once those sent away learn when to come back, and none hangs."""
    server = start_auth()
    users = [Caller(server) for _ in range(8)]
    for user in users:
        assert user.sign_up().status_code == 200

    def sign_in(user: Caller) -> tuple[int, str | None]:
        answer = Caller(server).post("/sign-in/email", {"email": user.mail, "password": PASSWORD})
        return answer.status_code, answer.headers.get("Retry-After")

    with ThreadPoolExecutor(64) as pool:
        seen = list(pool.map(sign_in, users * 8))
    assert {status for status, _ in seen} == {200, 503}
    assert all(wait for status, wait in seen if status == 503)


def test_must_count_for_all_replicas(start_auth: StartAuth, postgres: Postgres) -> None:
    """Replicas that share a database count together; another one is no way round a limit."""
    url = postgres.database()
    first, second = (start_auth(DATABASE_URL=url) for _ in range(2))
    stranger, again = Caller(first), Caller(second)
    again.address = stranger.address
    assert [guess(stranger, f"{n}-{stranger.mail}") for n in range(10)] == [401] * 10
    assert guess(again, again.mail) == 429


def test_must_not_wait_for_a_body_for_ever(stalled_upload: Future[tuple[bytes, float]]) -> None:
    """Row 20. A body that does not come ends with 408."""
    answer, seconds = stalled_upload.result()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert seconds < 15
