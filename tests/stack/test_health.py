"""Health: each Space answers the first requests of the Hub, a load balancer and a visitor."""

from __future__ import annotations

from tests.stack.conftest import Caller


def test_liveness_must_answer_at_once(caller: Caller) -> None:
    answer = caller.get("/health")

    assert answer.status_code == 200
    assert answer.json()["status"] in ("ok", "degraded")
    assert answer.elapsed.total_seconds() < 1


def test_readiness_must_say_that_it_serves(caller: Caller) -> None:
    answer = caller.get("/ready")

    assert answer.status_code == 200, answer.text


def test_the_front_page_must_answer_get_and_head(caller: Caller) -> None:
    """The front page must answer GET and HEAD: only then does the Hub show a Space as running."""
    page, head = caller.get("/"), caller.head("/")

    assert page.status_code == head.status_code == 200
    assert page.content and not head.content
    assert page.headers["Content-Type"] == head.headers["Content-Type"]


def test_an_unknown_path_must_be_404(caller: Caller) -> None:
    assert caller.get("/no/such/path").status_code == 404
