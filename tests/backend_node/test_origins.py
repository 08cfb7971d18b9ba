"""Origins that may call from a browser, and what a browser may read."""

from __future__ import annotations

import pytest

from preflight.engine.container import Container
from tests.backend_node.calling import ORIGIN, Caller, code

UNLISTED = "https://evil.example"
NEAR_MISSES = [
    f"{ORIGIN}.evil.test", ORIGIN.replace("https", "http"), f"{ORIGIN}:8443", f"{ORIGIN}.",
    ORIGIN.upper(), f"{ORIGIN}/", f"{ORIGIN}:443", "null", UNLISTED, f"{ORIGIN},{UNLISTED}",
]  # fmt: skip
CORS = [
    *("Access-Control-Allow-Origin", "Access-Control-Allow-Credentials"),
    "Access-Control-Allow-Methods",
]


@pytest.fixture
def kind() -> str:
    """The server checks origins before any query, so one database is enough."""
    return "sqlite"


def preflight(server: Container, origin: str) -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,authorization",
    }


def test_must_answer_a_preflight_request(auth: Container) -> None:
    """A preflight request from a listed origin must get all methods and headers that are allowed."""
    answer = auth.options("/api/auth/sign-in/email", headers=preflight(auth, ORIGIN))
    assert answer.status_code == 204
    headers = answer.headers
    assert headers["Access-Control-Allow-Origin"] == ORIGIN
    assert headers["Access-Control-Allow-Credentials"] == "true"
    assert "POST" in headers["Access-Control-Allow-Methods"]
    assert {"authorization", "content-type"} <= {
        *headers["Access-Control-Allow-Headers"].lower().split(", ")
    }
    assert headers["Access-Control-Max-Age"] == "600"
    assert headers["Vary"].startswith("Origin")


@pytest.mark.parametrize("origin", NEAR_MISSES)
def test_must_refuse_a_preflight_request_of_any_other(auth: Container, origin: str) -> None:
    """A preflight request from an unlisted origin must get 403 without CORS headers."""
    answer = auth.options("/api/auth/sign-in/email", headers=preflight(auth, origin))
    assert code(answer) == (403, "INVALID_ORIGIN")
    assert not [name for name in CORS if name in answer.headers]


@pytest.mark.parametrize("origin", NEAR_MISSES)
@pytest.mark.parametrize(("method", "path"), [("GET", "/get-session"), ("POST", "/sign-out")])
def test_must_refuse_calls_of_any_other(known: Caller, origin: str, method: str, path: str) -> None:
    """A request from an unlisted origin must get 403. The edge echoes any origin, so only the server can refuse."""
    answer = known.call(method, path, headers={"Origin": origin})
    assert code(answer) == (403, "INVALID_ORIGIN")
    assert known.mail not in answer.text
    assert not [name for name in CORS if name in answer.headers]
    assert known.session(), "the refused request must change nothing"


def test_must_let_a_listed_origin_read(known: Caller) -> None:
    """A listed origin must be able to read the session and the headers that it needs."""
    answer = known.get("/get-session")
    assert answer.json()["user"]["email"] == known.mail
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
    assert {"set-auth-token", "retry-after", "x-request-id"} <= {*exposed}


def test_must_let_a_listed_origin_read_errors(caller: Caller) -> None:
    """Errors must have CORS headers: without them a front end sees a network failure."""
    answers = [
        caller.post("/sign-in/email", {}),
        caller.sign_in(),
        caller.get("/list-sessions"),
        caller.get("/nope"),
        caller.call("PUT", "/sign-in/email"),
        *(caller.sign_in() for _ in range(12)),
    ]
    assert {answer.status_code for answer in answers} == {400, 401, 404, 405, 429}
    for answer in answers:
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"


def test_must_refuse_a_cookie_without_an_origin(known: Caller) -> None:
    """A change by cookie must come from a known origin."""
    answer = known.post("/sign-out", headers={"Origin": ""})
    assert code(answer) == (403, "MISSING_OR_NULL_ORIGIN")
    assert known.session(), "still signed in"


def test_must_serve_native_clients(known: Caller) -> None:
    """A request without cookie and origin must be accepted: it cannot be forged."""
    native = Caller(known.server, origin=None)
    native.mail = known.mail
    assert native.sign_in().status_code == 200


def test_must_refuse_to_sign_in_by_navigation(known: Caller) -> None:
    """The server must refuse to sign a visitor in by a form on another site."""
    visitor = Caller(known.server)
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Origin": ""}
    body = {"email": known.mail, "password": "correct horse battery"}
    answer = visitor.post("/sign-in/email", body, headers=headers)
    assert code(answer) == (403, "CROSS_SITE_NAVIGATION_LOGIN_BLOCKED")


@pytest.mark.parametrize(
    ("path", "field"),
    [("/sign-in/email", "callbackURL"), ("/request-password-reset", "redirectTo")],
)
def test_must_not_redirect_elsewhere(known: Caller, path: str, field: str) -> None:
    """A link to another site must be refused."""
    body = {"email": known.mail, "password": "correct horse battery", field: UNLISTED}
    assert known.post(path, body).status_code == 403


def test_must_serve_its_own_page(auth: Container) -> None:
    """The server's own origin, of the page at /, must need no listing and no CORS header."""
    answer = Caller(auth, origin="https://auth.example").sign_up()
    assert answer.status_code == 200
    assert "Access-Control-Allow-Origin" not in answer.headers
