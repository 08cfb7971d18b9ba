"""Requests to backend-py, and its streams as lists of events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import requests

from preflight.engine.container import Container, stretched

ORIGIN = "https://book.example"
# The built-in book answers this in every mode.
QUESTION = "Why is my Space stuck on Starting?"
# A question with a history is never answered from the cache.
FRESH = {"history": [{"role": "assistant", "content": "Hello."}]}


@dataclass(frozen=True)
class Event:
    name: str
    data: dict[str, Any]


def ask(
    space: Container, question: str = QUESTION, fresh: bool = True, **body: Any
) -> requests.Response:
    """The answer to POST /chat; `fresh` bypasses the cache."""
    return space.post("/chat", json={"question": question, **(FRESH if fresh else {}), **body})


def open_stream(space: Container, question: str = QUESTION, **body: Any) -> requests.Response:
    """The open answer to POST /chat/stream; closing it disconnects."""
    body = {"question": question, **FRESH, **body}
    return space.post("/chat/stream", json=body, stream=True, timeout=30)


def events(response: requests.Response) -> Iterator[Event | str]:
    """The events of an open stream as they arrive; a comment comes as its text."""
    rest = b""
    for chunk in response.iter_content(None):
        *frames, rest = (rest + chunk).split(b"\n\n")
        for frame in frames:
            if frame.startswith(b":"):
                yield frame[1:].decode().strip()
                continue
            name, data = frame.split(b"\n")
            assert name.startswith(b"event: ") and data.startswith(b"data: "), frame
            yield Event(name[7:].decode(), json.loads(data[6:]))
    assert not rest, f"the stream ends inside an event: {rest!r}"


def stream(space: Container, question: str = QUESTION, **body: Any) -> list[Event]:
    """All events of an answer, which must be a stream; comments left out."""
    with open_stream(space, question, **body) as response:
        assert response.status_code == 200, response.text
        assert response.headers["content-type"].startswith("text/event-stream")
        return [event for event in events(response) if isinstance(event, Event)]


def text_of(received: list[Event]) -> str:
    return "".join(event.data["text"] for event in received if event.name == "delta")


def code_of(response: requests.Response) -> str:
    """The code in the error envelope, which must have its documented shape."""
    body = response.json()
    assert set(body) == {"error"}, body
    assert set(body["error"]) - {"fields"} == {"code", "message"}, body
    return str(body["error"]["code"])


def assert_stops(space: Container) -> None:
    """The idle Space must exit with code 0 within a second of its signal."""
    done = space.wait_for_exit(10)
    assert done and done.code == 0, done
    # The second second is for the calls to the engine.
    assert done.seconds < stretched(2)
