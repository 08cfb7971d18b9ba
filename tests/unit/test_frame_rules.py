"""Headers and cookies in the Hub's frame, and addresses that a server builds for itself."""

from __future__ import annotations

import pytest

from preflight.model.problems import Severity
from preflight.rules.cookies import cookie_problems, unsent_problems
from preflight.rules.frame import frame_problems
from preflight.rules.redirects import callback_problem, redirect_problem

HOST = "acme-web.hf.space"
URL = f"https://{HOST}/"
XFO, CSP = "X-Frame-Options", "Content-Security-Policy"


@pytest.mark.parametrize(
    "headers",
    [
        [(XFO, "DENY")],
        [(XFO, "sameorigin")],
        [(CSP, "frame-ancestors 'self'")],
        [(CSP, "default-src 'self'; frame-ancestors 'none'")],
        [(CSP, "frame-ancestors https://example.com"), (XFO, "DENY")],
        [(CSP, "frame-ancestors https://huggingface.co"), (CSP, "frame-ancestors 'self'")],
        [(CSP, "frame-ancestors http://huggingface.co.example.com")],
    ],
)
def test_a_header_that_blanks_the_frame_is_found(headers: list[tuple[str, str]]) -> None:
    """Each policy must allow huggingface.co; without a policy X-Frame-Options must count."""
    assert len(list(frame_problems(headers, "/"))) == 1


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(XFO, "ALLOW-FROM https://huggingface.co")],
        [(XFO, "DENY"), (CSP, "frame-ancestors 'self' https://huggingface.co")],
        [(CSP, "frame-ancestors *")],
        [(CSP, "frame-ancestors https:")],
        [(CSP, "default-src 'self'")],
        [("Content-Security-Policy-Report-Only", "frame-ancestors 'none'")],
    ],
)
def test_a_header_that_lets_the_frame_be_is_none(headers: list[tuple[str, str]]) -> None:
    """A header that browsers ignore or override must not be a finding."""
    assert list(frame_problems(headers, "/")) == []


@pytest.mark.parametrize(
    ("header", "severity"),
    [
        ("session=a; HttpOnly; Path=/", Severity.RISK),
        ("connect.sid=s%3Aa; Path=/; HttpOnly; SameSite=Lax", Severity.RISK),
        ("_streamlit_xsrf=2|a; Path=/", Severity.RISK),
        ("id=a; SameSite=None", Severity.ADVICE),
        ("token=a; SameSite=None; Secure; Domain=hf.space", Severity.RISK),
        ("theme=dark; Path=/", Severity.ADVICE),
        ("session=a; SameSite=None; Secure; Partitioned", None),
        (f"session=a; SameSite=None; Secure; Domain={HOST}", None),
        ("session=; Max-Age=0", None),
    ],
)
def test_a_cookie_that_the_frame_loses_is_found(header: str, severity: Severity | None) -> None:
    """A cookie without SameSite=None and Secure must be found; one that only remembers a choice is advice."""
    assert [problem.severity for problem in cookie_problems([header], "/", HOST)] == (
        [severity] if severity else []
    )


@pytest.mark.parametrize(
    "location",
    [
        f"http://{HOST}/x",
        f"https://{HOST}:7860/x",
        "http://localhost:7860/x",
        "http://3f2a9c1b7d04:7860/x",
        URL,
        "/",
    ],
)
def test_a_redirect_that_leads_nowhere_is_found(location: str) -> None:
    """Plain HTTP, another port, an internal host and the same address again must be findings."""
    assert redirect_problem(URL, location) is not None


@pytest.mark.parametrize(
    "location", ["/x", f"https://{HOST}/x", "https://huggingface.co/login", "x?y=1"]
)
def test_a_redirect_that_leads_on_is_none(location: str) -> None:
    """A path, the public address and another site must not be findings."""
    assert redirect_problem(URL, location) is None


def test_a_callback_has_to_be_the_public_address() -> None:
    """Any other callback must be a finding: the identity provider compares it character by character."""
    provider = "https://id.example.com/authorize?client_id=1&redirect_uri="
    assert callback_problem(f"{URL}login", f"{provider}http://{HOST}/cb")
    assert callback_problem(f"{URL}login", f"{provider}https%3A%2F%2Flocalhost%3A7860%2Fcb")
    assert callback_problem(f"{URL}login", f"{provider}https%3A%2F%2F{HOST}%2Fcb") is None
    assert callback_problem(f"{URL}login", "https://id.example.com/authorize?client_id=1") is None


SESSION = 'const session = require("express-session")\napp.use(session({cookie: {secure: true}}))\n'


@pytest.mark.parametrize(
    ("sources", "found"),
    [
        ({"index.js": SESSION}, 1),
        ({"index.js": SESSION, "app.js": "app.set('trust proxy', 1)"}, 0),
        ({"index.js": SESSION.replace("secure: true", "secure: true}, proxy: true, x: {")}, 0),
        ({"index.js": SESSION.replace("true", "'auto'")}, 0),
        ({"index.js": "const cookie = {secure: true}"}, 0),
    ],
)
def test_a_session_that_sends_no_cookie_is_found(sources: dict[str, str], found: int) -> None:
    """express-session must trust the proxy if its cookie is secure."""
    assert len(list(unsent_problems(sources))) == found
