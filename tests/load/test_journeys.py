"""Both Spaces must answer every step of the load's journeys correctly."""

from __future__ import annotations

import secrets
from typing import Any

import requests

from loadtests import journeys
from preflight.engine.container import Container

ORIGIN = "http://localhost:3000"


class Walk:
    """A visit that checks every response."""

    def __init__(self, space: Container) -> None:
        self.space = space
        self.arrive()

    def arrive(self) -> None:
        self.http = requests.Session()
        self.http.trust_env = False
        address = f"198.18.{secrets.randbelow(256)}.{secrets.randbelow(254) + 1}"
        self.http.headers.update({"X-Forwarded-For": address, "Origin": ORIGIN})

    def think(self) -> None:
        pass

    def call(
        self, method: str, path: str, *, expect: int = 200, check: Any = None, json: Any = None
    ) -> Any:
        answer = self.http.request(method, self.space.url + path, json=json, timeout=10)
        self.look(answer, expect)
        assert answer.headers["Content-Type"].startswith("application/json")
        body = answer.json()
        if check:
            check(body)
        return body

    def stream(
        self, path: str, json: Any, *, first: str | None = None, until: str | None = None
    ) -> None:
        url = self.space.url + path
        with self.http.post(url, json=json, stream=True, timeout=10) as answer:
            self.look(answer, 200)
            names = []
            for line in answer.iter_lines():
                if line.startswith(b"event: "):
                    names.append(line[7:].decode())
                if until in names:
                    break
            assert first is None or first in names
            assert names[-1] == (until or "done")

    def look(self, answer: requests.Response, expect: int) -> None:
        assert answer.status_code == expect, f"{answer.request.path_url}: {answer.text[:300]}"
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Request-Id"]


def test_backend_py_must_answer_every_step(backend_py: Container) -> None:
    journeys.read(Walk(backend_py))


def test_backend_node_must_answer_every_step(backend_node: Container) -> None:
    journeys.sign_up_and_in(Walk(backend_node))
