"""Routes, methods, sizes and times of requests without a session."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from preflight.engine.container import Container
from tests.backend_node.calling import ORIGIN, Caller, code, raw
from tests.backend_node.loading import resident
from tests.waiting import eventually


@pytest.fixture
def kind() -> str:
    """The server answers these requests before any query, so one database is enough."""
    return "sqlite"


def test_must_greet_programs_and_browsers(auth: Container) -> None:
    """The root must answer a browser with a page and a program with JSON."""
    assert auth.get("/").json()["ready"] == "/ready"
    page = auth.get("/", headers={"Accept": "text/html,*/*"})
    assert page.headers["Content-Type"].startswith("text/html")
    assert "unsafe" not in page.headers["Content-Security-Policy"]
    assert "https://" not in page.text, "the page loads nothing from elsewhere"
    assert auth.head("/").content == b""


@pytest.mark.parametrize("path", ["/nope", "/api/auth/nope", "/api/auth", "/api/auth/"])
def test_must_answer_an_unknown_path_in_the_error_shape(auth: Container, path: str) -> None:
    """A 404 must have a body, and CORS headers for a listed origin."""
    answer = auth.get(path, headers={"Origin": ORIGIN})
    assert code(answer) == (404, "NOT_FOUND")
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN


@pytest.mark.parametrize("method", ["DELETE", "PUT", "PATCH", "TRACE", "GET"])
def test_must_name_the_allowed_methods(caller: Caller, method: str) -> None:
    """A wrong method must get 405 with Allow."""
    answer = caller.call(method, "/sign-in/email")
    assert code(answer) == (405, "METHOD_NOT_ALLOWED")
    assert answer.headers["Allow"] == "POST, OPTIONS"


def test_must_answer_head_on_an_auth_path(caller: Caller) -> None:
    """HEAD must answer like GET, without a body."""
    answer = caller.call("HEAD", "/ok")
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize(
    "head",
    [
        b"GET /api/auth/ok HTTP/1.1\r\nHost: a b\r\n",
        b"GET /api/auth/ok HTTP/1.1\r\nHost: a:99999\r\n",
        b"GET /api/auth/ok HTTP/1.0\r\n",
        b"GET /api/auth/ok HTTP/1.1\r\n",
        b"GET /api/auth/ok HTTP/1.1\r\nHost: x\r\nX-Forwarded-Proto: a b\r\n",
        b"GET /api/auth/ok HTTP/1.1\r\nHost: x\r\nX-Forwarded-Proto: https,http\r\n",
        b"TRACE /api/auth/ok HTTP/1.1\r\nHost: x\r\n",
        b"GET //api/auth/ok HTTP/1.1\r\nHost: x\r\n",
        b"GET /api/auth//x HTTP/1.1\r\nHost: x\r\n",
        b"GET /api/auth/%zz HTTP/1.1\r\nHost: x\r\n",
        b"GET http://elsewhere.example/api/auth/ok HTTP/1.1\r\nHost: x\r\n",
        b"GET * HTTP/1.1\r\nHost: x\r\n",
        b"nonsense\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\r\n",
    ],
)
def test_must_survive_hostile_requests(auth: Container, head: bytes) -> None:
    """A malformed request that ends a stock Better Auth server must get an answer."""
    received = raw(auth, head + b"Connection: close\r\n\r\n")
    assert received[:9] in (b"HTTP/1.1 ", b"HTTP/1.0 ")
    assert received[9:10] in b"234"
    assert auth.get("/health").status_code == 200


def test_must_refuse_a_large_header(auth: Container) -> None:
    """A header of 20 KB must be refused."""
    answer = raw(auth, b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000 + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"]


def test_must_log_what_happened_to_an_account(member: Caller) -> None:
    """Each sign-in, right or wrong, must have an audit line with the request id of its answer."""
    number = member.session()["user"]["id"]
    wrong, right = member.sign_in("wrong password"), member.sign_in()
    wanted = {
        wrong.headers["X-Request-Id"]: ("failure", "INVALID_EMAIL_OR_PASSWORD"),
        right.headers["X-Request-Id"]: ("success", None),
    }

    def audited() -> dict[str, tuple[str, str | None]]:
        lines = map(json.loads, member.server.logs().splitlines())
        return {
            line["requestId"]: (line["outcome"], line.get("code"))
            for line in lines
            if line["msg"] == "audit"
            and line["event"] == "sign-in"
            and line.get("requestId") in wanted
            if line.get("user") in (number, None)
        }

    eventually(f"the audit lines {wanted}", 5, lambda: audited() == wanted)


def test_must_log_each_request_once(caller: Caller) -> None:
    """Each request must have one line in the log with the request id of its answer."""
    answers = {
        "/health": caller.server.get("/health"),
        "/api/auth/get-session": caller.get("/get-session"),
        "/api/auth/list-sessions": caller.get("/list-sessions?secret=x"),
        "/api/auth/nope": caller.get("/nope"),
        "/api/auth/sign-out": caller.call("PUT", "/sign-out"),
    }
    wanted = {
        answer.headers["X-Request-Id"]: [(path, answer.status_code)]
        for path, answer in answers.items()
    }

    def logged() -> dict[str, list[tuple[str, int]]]:
        found: dict[str, list[tuple[str, int]]] = {}
        for line in caller.server.logs().splitlines():
            event = json.loads(line)
            if event.get("requestId") in wanted and event["msg"] == "request":
                found.setdefault(event["requestId"], []).append((event["path"], event["status"]))
        return found

    eventually(f"a log line for each of {wanted}", 5, lambda: logged() == wanted)


@pytest.mark.parametrize("size", [65 * 1024, 200 * 1024 * 1024])
@pytest.mark.parametrize("chunked", [False, True])
def test_must_refuse_a_large_body(caller: Caller, size: int, chunked: bool) -> None:
    """A large body, declared or not, must be refused without being stored; a listed origin may read why."""

    def pieces() -> Iterator[bytes]:
        for _ in range(size // 65536 + 1):
            yield b"a" * 65536

    before = resident(caller.server)
    body = pieces() if chunked else b"a" * size
    answer = caller.call(
        "POST", "/sign-in/email", data=body, headers={"Content-Type": "application/json"}
    )
    assert code(answer) == (413, "PAYLOAD_TOO_LARGE")
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert resident(caller.server) - before < 20


def test_must_not_take_plain_text_for_json(caller: Caller) -> None:
    """A content type that needs no preflight request must be refused."""
    body = json.dumps({"email": caller.mail, "password": "long enough", "name": "x"})
    for origin in (ORIGIN, ""):
        answer = caller.call(
            "POST", "/sign-up/email", data=body,
            headers={"Content-Type": "text/plain", "Origin": origin},
        )  # fmt: skip
        assert answer.status_code == 415
