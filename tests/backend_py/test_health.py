"""Liveness must never wait for a dependency; readiness must name the dependency that is down."""

from __future__ import annotations

import time
from statistics import median

from preflight.engine.container import Container
from tests.backend_py.asking import ask
from tests.doubles.running import Upstreams
from tests.waiting import eventually

SOUND = {
    "status": "ok",
    "version": "1.0",
    "services": {"cohere": "connected", "qdrant": "connected"},
}
# Qdrant is probed every 5 s, and every second while it is down; a hanging probe adds its time-out.
PROBE_SECONDS = 10


def state_of(space: Container, service: str) -> str:
    answer = space.get("/health")
    assert answer.status_code == 200
    return str(answer.json()["services"][service])


def recover(cloud: Container) -> None:
    ask(cloud)
    eventually("all well", PROBE_SECONDS, lambda: cloud.get("/health").json() == SOUND)


def test_all_well(cloud: Container) -> None:
    """The body must be the one that existing monitors of `/health` expect."""
    recover(cloud)
    assert cloud.get("/health").json() == SOUND


def test_costs_no_quota(cloud: Container, upstreams: Upstreams) -> None:
    """Liveness must never call Cohere, whose calls are counted by the month."""
    for _ in range(50):
        assert cloud.get("/health").status_code == 200
    assert not upstreams.calls("/v2/")


def test_qdrant_down_and_back(cloud: Container, upstreams: Upstreams) -> None:
    """An outage and its end must show without traffic and without a restart."""
    recover(cloud)
    upstreams.fault("qdrant", "500")
    eventually("outage seen", PROBE_SECONDS, lambda: state_of(cloud, "qdrant") == "disconnected")
    assert cloud.get("/health").json()["status"] == "degraded"
    ready = cloud.get("/ready")
    assert ready.status_code == 503
    assert "qdrant" in ready.json()["reason"]
    upstreams.reset()
    eventually("outage over", PROBE_SECONDS, lambda: state_of(cloud, "qdrant") == "connected")
    assert cloud.get("/ready").status_code == 200


def test_qdrant_hangs(cloud: Container, upstreams: Upstreams) -> None:
    """Liveness must answer at once while a dependency hangs."""
    upstreams.fault("qdrant", "hang")
    ask(cloud)
    seconds = []
    for _ in range(20):
        started = time.monotonic()
        assert cloud.get("/health").status_code == 200
        seconds.append(time.monotonic() - started)
    # A health check that waits for the dependency is slow each time; other tests' load delays a few.
    assert median(seconds) < 0.1, seconds


def test_cohere_refuses_the_key(cloud: Container, upstreams: Upstreams) -> None:
    """`/health` must report Cohere's state from its last call."""
    upstreams.fault("cohere", "401")
    ask(cloud)
    assert state_of(cloud, "cohere") == "disconnected"
    assert "cohere" in cloud.get("/ready").json()["reason"]
    upstreams.reset()
    ask(cloud)
    assert state_of(cloud, "cohere") == "connected"


def test_head_and_no_store(embedded: Container) -> None:
    """HEAD must answer like GET without a body, and caches must not store the answer."""
    head = embedded.head("/health")
    assert head.status_code == 200
    assert not head.content
    assert head.headers["cache-control"] == "no-store"


def test_ready(embedded: Container) -> None:
    """A Space that can answer must report ready."""
    embedded.wait_until_serving("/ready", status=200)
    answer = embedded.get("/ready")
    assert answer.status_code == 200
    assert answer.json() == {"ready": True}


def test_root(embedded: Container) -> None:
    """`/` must answer an API client with JSON, and a browser with a page that loads nothing from other hosts."""
    assert embedded.get("/").json()["name"] == "backend-py"
    assert embedded.head("/").status_code == 200
    page = embedded.get("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert page.text.startswith("<!doctype html>")
    assert "://" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_embedded_mode(embedded: Container) -> None:
    """Embedded mode must report both services as embedded and the status as ok."""
    assert embedded.get("/health").json() == {
        "status": "ok",
        "version": "1.0",
        "services": {"cohere": "embedded", "qdrant": "embedded"},
    }
