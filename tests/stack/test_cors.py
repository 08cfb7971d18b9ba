"""CORS: a listed front end may read answers. No other site may, even with a similar name."""

from __future__ import annotations

import pytest

from tests.stack.conftest import LISTED, Caller

NEAR_MISSES = [
    "https://front.example.app.attacker.example",
    "https://attacker.example/front.example.app",
    "https://xfront.example.app",
    "https://front.example.app:8443",
    "http://front.example.app",
    "https://front-example.app",
    "https://FRONT.example.app.",
    "null",
]


def test_a_listed_origin_must_be_let_in(caller: Caller) -> None:
    answer = caller.get("/health", headers={"Origin": LISTED})

    assert answer.headers["Access-Control-Allow-Origin"] == LISTED
    assert "Origin" in answer.headers["Vary"]


def test_a_preflight_request_of_a_listed_origin_must_be_answered(caller: Caller) -> None:
    answer = caller.options(
        "/health",
        headers={
            "Origin": LISTED,
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "content-type",
        },
    )

    assert answer.status_code in (200, 204)
    assert answer.headers["Access-Control-Allow-Origin"] == LISTED
    assert "GET" in answer.headers["Access-Control-Allow-Methods"]
    assert "content-type" in answer.headers["Access-Control-Allow-Headers"].lower()


@pytest.mark.parametrize("origin", ["https://attacker.example", *NEAR_MISSES])
def test_any_other_origin_must_be_refused(caller: Caller, origin: str) -> None:
    for answer in (
        caller.get("/health", headers={"Origin": origin}),
        caller.options(
            "/health", headers={"Origin": origin, "Access-Control-Request-Method": "POST"}
        ),
    ):
        assert answer.headers.get("Access-Control-Allow-Origin") not in ("*", origin)


def test_credentials_must_never_go_with_a_wildcard(caller: Caller) -> None:
    for origin in (LISTED, "https://attacker.example"):
        answer = caller.get("/health", headers={"Origin": origin})
        shares = answer.headers.get("Access-Control-Allow-Credentials") == "true"
        assert not (shares and answer.headers.get("Access-Control-Allow-Origin") != LISTED)
