"""Callers of backend-node, each with a separate address and session."""

from __future__ import annotations

import hmac
import itertools
import re
import secrets
import socket
from collections.abc import Iterator, Mapping, Sequence
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import requests

from preflight.engine.container import Container

ORIGIN = "https://front.example"
BASE = "https://auth.example"
SECRET = "test-secret-Xw7pQz2mN8rT4vB6yK1s"
PASSWORD = "correct horse battery"
COMMON = {
    "BETTER_AUTH_SECRET": SECRET,
    "BETTER_AUTH_URL": BASE,
    "CORS_ORIGINS": f"{ORIGIN},http://localhost:3000",
}
# Settings of a server that sends its mails to the double.
MAIL = {"MAIL_URL": "http://mail:8080/emails", "MAIL_KEY": "mail-key", "MAIL_FROM": "a@b.example"}
# Settings of a server that calls the double of the outside services, which has a self-signed certificate.
OUTSIDE = {"NODE_TLS_REJECT_UNAUTHORIZED": "0"}
COOKIE = "__Secure-better-auth.session_token"
DEVICE_COOKIE = "__Secure-better-auth.device"

# The limits distinguish this many addresses and this many accounts. Source: backend-node/rate-limits.ts.
BUCKETS = 32_768

# Each address is a new one, as the edge would append it.
addresses = (
    f"203.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    for number in itertools.count(secrets.randbelow(200) * 65536)
)


def an_address() -> str:
    """An address that no other caller has, with separate limits."""
    return _counted_alone(addresses)


def a_mail() -> str:
    """A mail address that no other caller has."""
    return _counted_alone(f"{secrets.token_hex(6)}@example.com" for _ in itertools.count())


def _counted_alone(subjects: Iterator[str]) -> str:
    for subject in subjects:
        digest = hmac.digest(SECRET.encode(), subject.encode(), "sha256")
        bucket = int.from_bytes(digest[:4], "big") % BUCKETS
        if bucket not in _taken:
            _taken.add(bucket)
            return subject
    raise AssertionError("they never end")


_taken: set[int] = set()


class Caller:
    """A caller with a fixed address and the server's latest cookie.

    It checks the headers and the error format of each answer.
    """

    def __init__(self, server: Container, origin: str | None = ORIGIN) -> None:
        self.server = server
        self.origin = origin
        self.address = an_address()
        self.mail = a_mail()
        self.cookie: str | None = None
        self.token = ""
        self.device: str | None = None
        self._http = requests.Session()
        self._http.trust_env = False
        # The cookie is sent below, whatever its attributes say about http.
        self._http.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    def call(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None,
        **options: Any,
    ) -> requests.Response:  # fmt: skip
        """Call a path below /api/auth. A header with the value "" is omitted."""
        sent = {"X-Forwarded-For": self.address, "Origin": self.origin, "Cookie": self.cookie}
        sent |= headers or {}
        if body is not None:
            options["json"] = body
        answer = self._http.request(
            method,
            f"{self.server.url}/api/auth{path}",
            headers={name: value for name, value in sent.items() if value},
            allow_redirects=False,
            timeout=options.pop("timeout", 20),
            **options,
        )
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "Origin" in answer.headers["Vary"]
        if answer.status_code >= 400 and method != "HEAD":
            assert answer.json().keys() == {"code", "message", "requestId"}
        if answer.status_code >= 500:
            for leak in ("stack", "node_modules", "ECONN", "SELECT", "postgres", "5432"):
                assert leak not in answer.text
        return answer

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.call("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> requests.Response:
        return self.call("POST", path, body, **options)

    def sign_up(self, **fields: Any) -> requests.Response:
        account = {"name": "Ada", "email": self.mail, "password": PASSWORD, **fields}
        return self._keep(self.post("/sign-up/email", account))

    def sign_in(self, password: str = PASSWORD, **fields: Any) -> requests.Response:
        body = {"email": self.mail, "password": password, **fields}
        return self._keep(self.post("/sign-in/email", body))

    def guess(self, mail: str, headers: dict[str, str] | None = None) -> int:
        """Status of a sign-in with a wrong password. A 429 must say how long to wait."""
        body = {"email": mail, "password": "wrong password"}
        answer = self.post("/sign-in/email", body, headers=headers)
        if answer.status_code == 429:
            assert code(answer) == (429, "TOO_MANY_REQUESTS")
            assert 1 <= int(answer.headers["Retry-After"]) <= 300
            # Better Auth's client reads this header.
            assert answer.headers["X-Retry-After"] == answer.headers["Retry-After"]
        return answer.status_code

    def session(self, **options: Any) -> Any:
        """The answer of get-session: user and session, or None."""
        answer = self.get("/get-session", **options)
        assert answer.status_code == 200
        return answer.json()

    def _keep(self, answer: requests.Response) -> requests.Response:
        for cookie in set_cookies(answer):
            if cookie.startswith(f"{COOKIE}=") and not cookie.startswith(f"{COOKIE}=;"):
                self.cookie = cookie.split(";")[0]
                self.token = answer.headers["set-auth-token"]
            if cookie.startswith(f"{DEVICE_COOKIE}="):
                self.device = cookie.split(";")[0]
        return answer


def set_cookies(answer: requests.Response) -> list[str]:
    """Each Set-Cookie header of an answer."""
    return answer.raw.headers.getlist("Set-Cookie")


def code(answer: requests.Response) -> tuple[int, str]:
    """Status and error code of a refusal."""
    return answer.status_code, answer.json()["code"]


def raw(server: Container, request: bytes, seconds: float = 5) -> bytes:
    """Send bytes unchanged; return what the server sends until it closes."""
    url = urlsplit(server.url)
    with socket.create_connection((str(url.hostname), int(url.port or 80)), seconds) as connection:
        connection.sendall(request)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
        return received


def pipelined(server: Container, path: str, headers: Sequence[Mapping[str, str]]) -> list[int]:
    """Statuses of a GET request with each of these headers, pipelined.

    Separate calls would cost this process many times more than the server.
    """
    statuses: list[int] = []
    # The server would refuse more at once as too busy.
    for first in range(0, len(headers), 32):
        sent = [
            f"GET {path} HTTP/1.1\r\nHost: x\r\n"
            + "".join(f"{n}: {v}\r\n" for n, v in group.items())
            for group in headers[first : first + 32]
        ]
        received = raw(server, ("\r\n".join(sent) + "Connection: close\r\n\r\n").encode(), 20)
        statuses += [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]
    return statuses
