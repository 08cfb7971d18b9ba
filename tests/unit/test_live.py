"""A live Space has other users: probes must use safe methods alone, few and slowly."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from preflight.cli import live as command
from preflight.engine import live
from preflight.engine.live import Live, NotSent, wake

Seen = list[tuple[str, float]]


@pytest.fixture
def server() -> Iterator[tuple[str, Seen]]:
    """The URL of a server that answers every method, and the requests that it got, with their time."""
    seen: Seen = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            seen.append((self.command, time.monotonic()))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_HEAD = do_OPTIONS = do_POST = do_DELETE = answer

        def log_message(self, *_: object) -> None:
            """Prints nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}", seen
        listening.shutdown()


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "post"])
def test_a_method_that_may_change_something_is_not_sent(
    method: str, server: tuple[str, Seen]
) -> None:
    """The refusal must name the option that sends it, and nothing may reach the Space."""
    url, seen = server
    with pytest.raises(NotSent, match="--live-writes"):
        Live("a", url).request(method, "/seed")
    assert seen == []


def test_safe_methods_are_sent_slowly(server: tuple[str, Seen]) -> None:
    """At most 5 requests a second may be sent, also from several threads at once."""
    url, seen = server
    space = Live("a", url)
    threads = [threading.Thread(target=space.get, args=("/",)) for _ in range(6)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(seen) == 6
    assert time.monotonic() - began >= 5 * live.LEAST_SECONDS_BETWEEN


def test_at_most_sixty_requests_must_be_sent(
    server: tuple[str, Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, seen = server
    monkeypatch.setattr(live, "LEAST_SECONDS_BETWEEN", 0)
    space = Live("a", url)
    for _ in range(60):
        space.get("/")
    with pytest.raises(NotSent, match="at most 60"):
        space.get("/")
    assert len(seen) == 60


def test_writes_must_be_sent_with_the_option(server: tuple[str, Seen]) -> None:
    url, seen = server
    Live("a", url, writes=True).post("/seed")
    assert [method for method, _ in seen] == ["POST"]


def test_a_name_that_does_not_resolve_is_reported_at_once() -> None:
    """A wrong URL must fail at once, without the wait for a sleeping Space."""
    began = time.monotonic()
    started = wake(Live("a", "https://no-such-space.invalid"))
    assert started.failure and "cannot be resolved" in started.failure.actual
    assert time.monotonic() - began < 20


def test_a_wrong_url_must_not_lead_to_a_roll_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The URL that the user typed must be named as the fault, with the Space's address."""
    monkeypatch.setattr(command, "wanted_commit", lambda *_: "c" * 40)
    monkeypatch.setattr(command, "follow", lambda *_: None)
    monkeypatch.setattr(command, "address_of", lambda _: "https://me-book.hf.space")
    assert command.main("me/book", "https://no-such-space.invalid", "", "") == 1
    said = capsys.readouterr()
    assert "waiting for https://no-such-space.invalid, at most" in said.out
    assert "Is --url right? me/book answers at https://me-book.hf.space" in said.err
    assert "rollback" not in said.err and "run log" not in said.err
