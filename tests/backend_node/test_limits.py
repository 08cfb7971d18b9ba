"""Limits on tries, on simultaneous requests and on time."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from preflight.engine.container import Container
from tests.backend_node.calling import (
    PASSWORD,
    Caller,
    a_mail,
    addresses,
    an_address,
    pipelined,
    raw,
)
from tests.backend_node.conftest import StartAuth
from tests.backend_node.loading import SESSION, Generator, resident


@pytest.fixture(scope="module", autouse=True)
def stalled_upload(
    server_on: Callable[[str], Container],
) -> Iterator[Future[tuple[bytes, float]]]:
    """Answer to a body of 1 byte of 100, and its seconds. It starts before all tests because it takes ten seconds."""
    server = server_on("sqlite")

    def send() -> tuple[bytes, float]:
        head = b"POST /api/auth/sign-in/email HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
        started = time.monotonic()
        return raw(server, head, seconds=15), time.monotonic() - started

    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(send)


def test_must_count_guesses_of_an_address(member: Caller) -> None:
    """Limits must ignore what the caller itself writes into X-Forwarded-For."""
    stranger = Caller(member.server)
    seen = [
        stranger.guess(f"{n}-{member.mail}", {"X-Forwarded-For": f"10.0.0.{n}, {stranger.address}"})
        for n in range(15)
    ]  # fmt: skip
    assert seen == [401] * 10 + [429] * 5
    other = Caller(member.server)
    other.mail = member.mail
    answer = other.sign_in()
    assert answer.status_code == 200, f"another address is unaffected: {answer.text}"


def test_must_slow_down_guesses_of_an_account(member: Caller) -> None:
    """Guesses at an account from many addresses must wait longer each time; its owner must never wait."""
    seen = [Caller(member.server).guess(member.mail) for _ in range(25)]
    assert seen == [401] * 20 + [429] * 5
    first = wait_of_a_guess(member)
    assert first <= 5
    time.sleep(first)
    assert Caller(member.server).guess(member.mail) == 401
    assert wait_of_a_guess(member) > 5
    again = Caller(member.server)
    again.mail, again.cookie = member.mail, member.device
    assert again.sign_in().status_code == 200, "from the owner's device"
    home = Caller(member.server)
    home.mail, home.address = member.mail, member.address
    assert home.sign_in().status_code == 200, "from the owner's network"
    other = Caller(member.server)
    assert other.sign_up().status_code == 200, "another account is unaffected"
    assert other.sign_in().status_code == 200


def wait_of_a_guess(member: Caller) -> int:
    """Seconds until a stranger may guess again."""
    stranger = Caller(member.server)
    stranger.mail = member.mail
    answer = stranger.sign_in("wrong password")
    assert answer.status_code == 429
    return int(answer.headers["Retry-After"])


def test_must_count_an_ipv6_network_as_one_caller(auth: Container) -> None:
    """All addresses of a /64, in every spelling, must share ten sign-ups a minute."""
    network = f"2001:db8:{secrets.randbelow(65536):x}:{secrets.randbelow(65536):x}"
    spellings = [f"{network}::{n:x}" for n in range(1, 9)]
    spellings += [f"{network}:0:0:0:7".upper(), f"[{network}::7]:443", f"{network}::0.0.0.7"]
    seen = []
    for spelling in spellings:
        caller = Caller(auth)
        caller.address = spelling
        seen.append(caller.sign_up().status_code)
    assert seen == [200] * 10 + [429]


def test_must_not_count_right_passwords(member: Caller) -> None:
    """Right passwords must never run out of tries."""
    assert {member.sign_in().status_code for _ in range(21)} == {200}


def test_must_not_punish_polling(member: Caller) -> None:
    """300 `get-session` requests, or one a second for five minutes, must not reach a limit."""
    anonymous = {"X-Forwarded-For": an_address()}
    user = {"X-Forwarded-For": member.address, "Cookie": str(member.cookie)}
    for caller in (anonymous, user):
        assert pipelined(member.server, SESSION, [caller] * 300) == [200] * 300
    assert member.session(), "the caller must be signed in"


@pytest.mark.parametrize("kind", ["sqlite"])
def test_must_not_believe_other_address_headers(auth: Container) -> None:
    """The address must come from the entry that the edge writes, and from no other header."""
    stranger = Caller(auth)
    assert [stranger.guess(a_mail()) for _ in range(11)] == [401] * 10 + [429]
    headers = ["X-Real-IP", "Forwarded", "X-Ip-Token", "X-Auth-Client-Address", "CF-Connecting-IP"]
    seen = {header: stranger.guess(a_mail(), {header: an_address()}) for header in headers}
    assert seen == dict.fromkeys(headers, 429), "the same address must stay limited"


def test_must_limit_sign_ups_and_mails(caller: Caller) -> None:
    """Sign-ups and mails to strangers must have limits for an address."""
    seen = [caller.sign_up(email=f"{n}-{caller.mail}").status_code for n in range(11)]
    assert seen == [200] * 10 + [429]
    statuses = [
        caller.post("/request-password-reset", {"email": f"{n}-{caller.mail}"}).status_code
        for n in range(4)
    ]
    assert statuses == [400] * 3 + [429]


# A small heap: otherwise memory that is not collected yet would hide what the server keeps.
SMALL_HEAP = "--max-old-space-size=96 --max-semi-space-size=2"


def flood(server: Container, number: int) -> None:
    """Send a request from each of `number` addresses."""
    callers = [{"X-Forwarded-For": address} for address in itertools.islice(addresses, number)]
    assert pipelined(server, "/api/auth/ok", callers) == [200] * number


def test_must_hold_many_addresses(start_auth: StartAuth) -> None:
    """A flood of addresses must not fill the memory."""
    server = start_auth(NODE_OPTIONS=SMALL_HEAP)
    flood(server, 2_000)
    held = resident(server)
    flood(server, 2_000)
    assert resident(server) - held < 20


@pytest.mark.thorough
def test_must_hold_a_hundred_thousand_addresses(
    start_auth: StartAuth, generator: Generator
) -> None:
    """A flood of addresses must not slow another caller down."""
    server = start_auth(name="many", NODE_OPTIONS=SMALL_HEAP)

    def pace() -> float:
        return generator.load(server, SESSION, 2, 2, {"PACE": "5"}).p99

    flood(server, 1_000)
    before, held = pace(), resident(server)
    flood(server, 100_000)
    assert pace() < 2 * before + 0.001
    assert resident(server) - held < 40


@pytest.mark.parametrize("kind", ["sqlite"])
def test_must_answer_all_of_many_sign_ins(auth: Container) -> None:
    """Of 64 simultaneous sign-ins each must get an answer, or 503 with Retry-After."""
    # So many sign-ins to the same account would reach its limit.
    users = [Caller(auth) for _ in range(4)]
    for user in users:
        assert user.sign_up().status_code == 200

    def sign_in(user: Caller) -> tuple[int, str | None]:
        answer = Caller(auth).post("/sign-in/email", {"email": user.mail, "password": PASSWORD})
        return answer.status_code, answer.headers.get("Retry-After")

    # On a busy machine the callers may be too slow to exceed the limit in one round.
    statuses: set[int] = set()
    for _ in range(6):
        with ThreadPoolExecutor(64) as pool:
            seen = list(pool.map(sign_in, users * 16))
        assert all(wait for status, wait in seen if status == 503)
        statuses |= {status for status, _ in seen}
        if statuses != {200}:
            break
    assert statuses == {200, 503}


def test_must_not_wait_for_a_body_for_ever(stalled_upload: Future[tuple[bytes, float]]) -> None:
    """A body that does not arrive must get 408."""
    answer, seconds = stalled_upload.result()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert seconds < 15
