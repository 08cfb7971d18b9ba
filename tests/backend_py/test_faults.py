"""A failing upstream is named, bounded in time, and replaced by the index where that is allowed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import requests

from preflight.engine.container import Container, stretched
from tests.backend_py.asking import QUESTION, ask, code_of
from tests.backend_py.conftest import COMMON, FLAT
from tests.doubles.running import Upstreams

COHERE = [
    ("401", 502, "upstream_auth"),
    ("403", 502, "upstream_auth"),
    ("429", 503, "upstream_rate_limited"),
    ("500", 502, "upstream_error"),
    ("503", 503, "upstream_unavailable"),
    ("html", 502, "upstream_bad_response"),
    ("empty", 502, "upstream_bad_response"),
]
QDRANT = [
    ("401", 502, "upstream_auth"),
    ("404", 502, "upstream_not_found"),
    ("400", 502, "upstream_rejected"),
    ("429", 503, "upstream_rate_limited"),
    ("500", 502, "upstream_error"),
    ("html", 502, "upstream_bad_response"),
    ("empty", 502, "upstream_bad_response"),
]


def timed(space: Container, **body: Any) -> tuple[requests.Response, float]:
    started = time.monotonic()
    answer = ask(space, **body)
    return answer, time.monotonic() - started


@pytest.mark.parametrize("path", ["/v2/embed", "/v2/chat"])
@pytest.mark.parametrize(("kind", "status", "code"), COHERE)
def test_cohere_fails(
    cloud_strict: Container, upstreams: Upstreams, kind: str, status: int, code: str, path: str
) -> None:
    """Each failure of Cohere must be answered with its stable code within a second."""
    details = {"retry_after": 7} if kind == "429" else {}
    upstreams.fault("cohere", kind, path=path, **details)
    # A new question: vectors of earlier questions are cached.
    answer, seconds = timed(cloud_strict, question=f"{QUESTION} {path} {kind}")
    assert (answer.status_code, code_of(answer)) == (status, code)
    assert seconds < stretched(1)
    if kind == "429":
        assert answer.headers["retry-after"] == "7"


def test_one_quick_retry(cloud_strict: Container, upstreams: Upstreams) -> None:
    """A call that fails once must be retried, and must not be sent more than twice."""
    upstreams.fault("cohere", "500", path="/v2/chat", times=1)
    assert ask(cloud_strict).status_code == 200
    upstreams.reset()
    upstreams.fault("cohere", "500", path="/v2/chat")
    assert ask(cloud_strict).status_code == 502
    assert len(upstreams.calls("/v2/chat")) == 2


def test_cohere_hangs(cloud_strict: Container, upstreams: Upstreams) -> None:
    """A hanging call to Cohere must end after UPSTREAM_TIMEOUT, here 2 s."""
    upstreams.fault("cohere", "hang")
    answer, seconds = timed(cloud_strict)
    assert (answer.status_code, code_of(answer)) == (504, "upstream_timeout")
    assert seconds < stretched(3)


def test_rate_limit_is_not_slept_away(cloud_strict: Container, upstreams: Upstreams) -> None:
    """A Retry-After of a minute must be passed on at once, without a wait."""
    ask(cloud_strict)
    upstreams.fault("cohere", "429", retry_after=60)
    answer, seconds = timed(cloud_strict)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "60"
    assert seconds < stretched(0.2)


@pytest.mark.parametrize(("kind", "status", "code"), QDRANT)
def test_qdrant_fails(
    cloud_strict: Container, upstreams: Upstreams, kind: str, status: int, code: str
) -> None:
    """Each failure of Qdrant must be answered with its stable code, never with 500."""
    upstreams.fault("qdrant", kind)
    answer, seconds = timed(cloud_strict)
    assert (answer.status_code, code_of(answer)) == (status, code)
    assert seconds < stretched(1)


def test_qdrant_hangs(cloud_strict: Container, upstreams: Upstreams) -> None:
    """A hanging call to Qdrant must end after QDRANT_TIMEOUT, here 1 s."""
    upstreams.fault("qdrant", "hang")
    answer, seconds = timed(cloud_strict)
    assert (answer.status_code, code_of(answer)) == (504, "upstream_timeout")
    assert seconds < stretched(2)


def assert_not_there(space: Container) -> None:
    answer, seconds = timed(space)
    assert answer.status_code in (503, 504)
    assert code_of(answer) in ("upstream_unavailable", "upstream_timeout")
    assert seconds < stretched(6)


def test_qdrant_refuses_the_connection(closed_port: Container, upstreams: Upstreams) -> None:
    """A refused connection must be answered with an error within 6 s."""
    upstreams.reset()
    assert_not_there(closed_port)


def test_qdrant_has_no_address(start_space: Any, upstreams: Upstreams) -> None:
    """A host name without an address must be answered with an error within 6 s."""
    upstreams.reset()
    environment = {**COMMON, **upstreams.environment, "RAG_FALLBACK": "off"}
    environment["QDRANT_URL"] = "http://no-such-host.invalid:6333"
    space = start_space("backend-py", environment, upstreams.network)
    space.wait_until_serving("/health", status=200)
    assert_not_there(space)


def test_empty_collection(other: Callable[..., Container], upstreams: Upstreams) -> None:
    """An empty collection must not cost a call to the model, and readiness must name the reason."""
    space = other([])
    answer = ask(space)
    assert (answer.status_code, code_of(answer)) == (502, "collection_empty")
    ready = space.get("/ready")
    assert ready.status_code == 503 and "collection_empty" in ready.json()["reason"]
    assert upstreams.calls("/points/query")
    assert not upstreams.calls("/v2/chat")


def test_collections_of_others(other: Callable[..., Container]) -> None:
    """Named vectors and the payload keys of other tools must be read."""
    payloads: list[dict[str, Any]] = [
        {"page_content": "From LangChain", "metadata": {"source": "https://book.example/a"}},
        {"chunk": "From elsewhere", "chapter": "One", "path": "/b"},
        {"content": "", "text": 5},
        {},
    ]
    points = [
        {"id": number, "vector": {"dense": [1.0] * 1536}, "payload": payload}
        for number, payload in enumerate(payloads)
    ]
    sources = ask(other(points, {"dense": FLAT})).json()["sources"]
    assert {(s["title"], s["url"]) for s in sources} == {
        ("https://book.example/a", "https://book.example/a"),
        ("One", "/b"),
    }


def test_vectors_of_another_model(other: Callable[..., Container]) -> None:
    """Vectors of another length must have a different code than an outage."""
    point = {"id": 1, "vector": [1.0] * 384, "payload": {"text": "x"}}
    space = other([point], {"size": 384, "distance": "Cosine"})
    answer = ask(space)
    assert (answer.status_code, code_of(answer)) == (502, "vector_size_mismatch")
    ready = space.get("/ready")
    assert ready.status_code == 503 and "vector_size_mismatch" in ready.json()["reason"]


@pytest.mark.parametrize(
    ("service", "kind"), [("cohere", "500"), ("cohere", "429"), ("qdrant", "500")]
)
def test_the_index_stands_in(
    cloud: Container, upstreams: Upstreams, service: str, kind: str
) -> None:
    """The index must answer with passages while an upstream fails and RAG_FALLBACK is on."""
    upstreams.fault(service, kind)
    answer = ask(cloud).json()
    assert answer["mode"] == "extractive"
    assert answer["degraded"] and answer["sources"] and answer["citations"]
    assert answer["degraded_by"][0].startswith("generation: ")
