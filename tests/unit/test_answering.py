"""A server that does not answer must not hold up every check."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from preflight.engine import answering
from preflight.engine.answering import Answering, Silence
from preflight.engine.visitor import Answer


class Mute(BaseHTTPRequestHandler):
    """Answers `/`, and nothing else."""

    def do_GET(self) -> None:
        if self.path != "/":
            time.sleep(1)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Print nothing."""


@pytest.fixture
def mute(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answering]:
    """The server, with deadlines of 0.4 and 0.05 s."""
    monkeypatch.setattr(answering, "REQUEST_TIMEOUT", 0.4)
    monkeypatch.setattr(answering, "SHORT_TIMEOUT", 0.05)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Mute)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    space = Answering("mute")
    space.url = f"http://127.0.0.1:{server.server_port}"
    yield space
    server.shutdown()
    server.server_close()


def waited(space: Answering, path: str) -> float:
    began = time.monotonic()
    with pytest.raises(Silence):
        space.get(path)
    return time.monotonic() - began


def test_a_server_that_never_answers_must_cost_few_deadlines(mute: Answering) -> None:
    """Each of the first three requests must wait its whole deadline, the next ones must not."""
    assert min(waited(mute, f"/{number}") for number in range(3)) >= 0.4
    assert waited(mute, "/3") < 0.3


def test_an_answer_must_restore_the_whole_deadline(mute: Answering) -> None:
    """A path that does not answer says nothing of the others, once one of them has answered."""
    for number in range(3):
        waited(mute, f"/{number}")
    assert mute.get("/").status_code == 200
    assert waited(mute, "/3") >= 0.4


def test_a_request_without_an_answer_must_be_sent_twice_at_most(mute: Answering) -> None:
    """The third try of one path must not wait."""
    for _ in range(2):
        waited(mute, "/slow")
    assert waited(mute, "/slow") < 0.05


def test_what_a_page_says_must_be_quoted_without_its_markup() -> None:
    page = b"<html><head><title>T</title><style>p {}</style></head><body><p>Host not <b>allowed</b>.</p>"
    assert Answer("/", 403, body=page).said == "Host not allowed ."
