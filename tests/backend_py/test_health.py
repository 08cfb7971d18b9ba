"""Liveness never waits for a dependency; readiness says which one is down."""

from __future__ import annotations

import time
from collections.abc import Callable

from preflight.engine.container import Container
from tests.backend_py.asking import ask
from tests.doubles.running import Upstreams

SOUND = {
    "status": "ok",
    "version": "1.0",
    "services": {"cohere": "connected", "qdrant": "connected"},
}
# Qdrant is asked every 5 s, every second while it is down; a hanging answer takes its time-out more.
PROBE_SECONDS = 10


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.1)


def state_of(space: Container, service: str) -> str:
    answer = space.get("/health")
    assert answer.status_code == 200
    return str(answer.json()["services"][service])


def recover(cloud: Container) -> None:
    ask(cloud)
    wait_for(lambda: cloud.get("/health").json() == SOUND, PROBE_SECONDS, "all well")


def test_all_well(cloud: Container) -> None:
    """Row 13: the body that the old service's pollers know."""
    recover(cloud)
    assert cloud.get("/health").json() == SOUND


def test_costs_no_quota(cloud: Container, upstreams: Upstreams) -> None:
    """Row 14: liveness must never call Cohere, whose calls are counted by the month."""
    for _ in range(50):
        assert cloud.get("/health").status_code == 200
    assert not upstreams.calls("/v2/")


def test_qdrant_down_and_back(cloud: Container, upstreams: Upstreams) -> None:
    """Rows 15, 17: an outage must show without traffic, and its end too, without a restart."""
    recover(cloud)
    upstreams.fault("qdrant", "500")
    wait_for(lambda: state_of(cloud, "qdrant") == "disconnected", PROBE_SECONDS, "outage seen")
    assert cloud.get("/health").json()["status"] == "degraded"
    ready = cloud.get("/ready")
    assert ready.status_code == 503
    assert "qdrant" in ready.json()["reason"]
    upstreams.reset()
    wait_for(lambda: state_of(cloud, "qdrant") == "connected", PROBE_SECONDS, "outage over")
    assert cloud.get("/ready").status_code == 200


def test_qdrant_hangs(cloud: Container, upstreams: Upstreams) -> None:
    """Row 16: liveness must answer at once while a dependency hangs."""
    upstreams.fault("qdrant", "hang")
    ask(cloud)
    for _ in range(20):
        began = time.monotonic()
        assert cloud.get("/health").status_code == 200
        assert time.monotonic() - began < 0.1


def test_cohere_refuses_the_key(cloud: Container, upstreams: Upstreams) -> None:
    """Row 18: Cohere's state must be that of its last call."""
    upstreams.fault("cohere", "401")
    ask(cloud)
    assert state_of(cloud, "cohere") == "disconnected"
    assert "cohere" in cloud.get("/ready").json()["reason"]
    upstreams.reset()
    ask(cloud)
    assert state_of(cloud, "cohere") == "connected"


def test_head_and_no_store(embedded: Container) -> None:
    """Row 19: HEAD must answer like GET without a body, and no cache may keep either."""
    head = embedded.head("/health")
    assert head.status_code == 200
    assert not head.content
    assert head.headers["cache-control"] == "no-store"


def test_ready(embedded: Container) -> None:
    """Row 20: a Space that can answer must say so."""
    embedded.wait_until_serving("/ready", status=200)
    answer = embedded.get("/ready")
    assert answer.status_code == 200
    assert answer.json() == {"ready": True}


def test_root(embedded: Container) -> None:
    """Row 21: an API client must get JSON, a browser a page without anything from elsewhere."""
    assert embedded.get("/").json()["name"] == "backend-py"
    assert embedded.head("/").status_code == 200
    page = embedded.get("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert page.text.startswith("<!doctype html>")
    assert "://" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_embedded_mode(embedded: Container) -> None:
    """Row 22: without upstreams the services are embedded and all is well."""
    assert embedded.get("/health").json() == {
        "status": "ok",
        "version": "1.0",
        "services": {"cohere": "embedded", "qdrant": "embedded"},
    }
