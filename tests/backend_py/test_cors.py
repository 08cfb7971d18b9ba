"""Listed origins must be able to call and to read every answer; other origins must be refused."""

from __future__ import annotations

import pytest

from preflight.engine.container import Container
from tests.backend_py.asking import ORIGIN, QUESTION, ask, code_of, open_stream
from tests.doubles.running import Upstreams

OTHERS = [
    "https://other.example",
    "null",
    "https://book.example.evil.com",
    "https://evil-book.example",
    "http://book.example",
    "https://book.example:8443",
]


def preflight(space: Container, origin: str, method: str = "POST", headers: str = "content-type"):  # type: ignore[no-untyped-def]
    request = {"Origin": origin, "Access-Control-Request-Method": method}
    return space.options("/chat", headers={**request, "Access-Control-Request-Headers": headers})


def test_preflight_of_a_listed_origin(embedded: Container) -> None:
    """A listed origin must be allowed to POST JSON with credentials."""
    answer = preflight(embedded, ORIGIN)
    assert answer.status_code in (200, 204)
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "content-type" in answer.headers["access-control-allow-headers"].lower()
    assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize("origin", OTHERS)
def test_preflight_of_another_origin(embedded: Container, origin: str) -> None:
    """An origin that only resembles a listed one must get no permission."""
    answer = preflight(embedded, origin)
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_preflight_for_what_is_not_offered(embedded: Container) -> None:
    """A preflight request must not allow a method or header that no endpoint accepts."""
    answer = preflight(embedded, ORIGIN, method="DELETE", headers="x-own")
    assert "DELETE" not in answer.headers.get("access-control-allow-methods", "")
    assert "x-own" not in answer.headers.get("access-control-allow-headers", "").lower()


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "/health", {}, 200),
        ("GET", "/nowhere", {}, 404),
        ("GET", "/chat", {}, 405),
        ("POST", "/chat", {"data": "x" * 1_200_000}, 413),
        ("POST", "/chat", {"json": {}}, 422),
        ("POST", "/feedback", {"json": {"id": "0" * 16, "rating": 1}}, 404),
        ("GET", "/feedback", {}, 401),
    ],
)
def test_headers_on_every_status(
    embedded: Container, method: str, path: str, options: dict[str, object], status: int
) -> None:
    """Every answer to a listed origin must carry CORS headers, errors included."""
    answer = embedded.request(method, path, headers={"Origin": ORIGIN}, **options)
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-allow-credentials"] == "true"


@pytest.mark.parametrize(
    ("kind", "status"), [("500", 502), ("429", 503), ("hang", 504)], ids=["502", "503", "504"]
)
def test_headers_while_an_upstream_fails(
    cloud_strict: Container, upstreams: Upstreams, kind: str, status: int
) -> None:
    """A front end must be able to read the status of a failing upstream."""
    upstreams.fault("qdrant", kind)
    answer = cloud_strict.post(
        "/chat", json={"question": f"{QUESTION} {kind}"}, headers={"Origin": ORIGIN}
    )
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == ORIGIN


def test_headers_on_a_stream(embedded: Container) -> None:
    """A stream must be readable by a listed origin."""
    answer = embedded.post("/chat/stream", json={"question": QUESTION}, headers={"Origin": ORIGIN})
    assert answer.status_code == 200
    # Not a wildcard: browsers refuse it with credentials.
    assert answer.headers["access-control-allow-origin"] == ORIGIN


@pytest.mark.parametrize("origin", OTHERS)
def test_question_from_another_origin(cloud: Container, upstreams: Upstreams, origin: str) -> None:
    """A request from an unlisted origin must be refused without a call to Cohere."""
    answer = cloud.post("/chat", json={"question": QUESTION}, headers={"Origin": origin})
    assert answer.status_code == 403
    assert code_of(answer) == "origin_not_allowed"
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    assert not upstreams.calls("/v2/")


def test_question_without_an_origin(embedded: Container) -> None:
    """A request without an origin must be answered without CORS headers."""
    answer = ask(embedded)
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers
    with open_stream(embedded) as stream:
        assert "access-control-allow-origin" not in stream.headers
