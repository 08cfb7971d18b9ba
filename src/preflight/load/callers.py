"""The locustfile of `preflight load`: the gate, the shape, and people who send the requests of slo.toml.

A table of slo.toml describes its request; a `loadfile.py` beside it may define other people.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

from locust import task

from preflight.load import gate
from preflight.load.people import Person
from preflight.load.shapes import Shape
from preflight.load.slo import CALLER, Slo, SloError, load

__all__ = ["Caller", "Shape", "gate"]

SLO = Path(os.environ.get("LOCUST_SLO", "slo.toml"))


def requests_of(path: Path) -> list[Slo]:
    """The requests of a slo.toml's Callers; empty if it is invalid, which the gate reports."""
    try:
        return [s for s in load(path).slos.values() if s.by == CALLER and s.is_request]
    except SloError:
        return []


class Caller(Person):
    """A person who sends the requests of slo.toml, as often as their weights say."""

    requests = requests_of(SLO)
    weights = tuple(slo.weight for slo in requests)
    # Locust ignores an abstract class: with a loadfile.py, slo.toml may need no Callers.
    abstract = not requests and SLO.with_name("loadfile.py").is_file()

    def wait_time(self) -> float:
        """Seconds between two requests in the closed model: 0.5 to 1.5 times --think."""
        return float(self.options.think) * random.uniform(0.5, 1.5)

    @task
    def request(self) -> None:
        slo = random.choices(self.requests, self.weights)[0]
        self.arrive()
        method, _, name = slo.name.partition(" ")
        path = slo.path or name
        if method == "WS":
            self.websocket(path, slo.send)
        elif slo.stream:
            self.stream(path, slo.json, method=method, name=name, last=None)
        elif slo.upload:
            file = Path(slo.upload).name
            self.upload(path, file, _content(slo.upload), expect=slo.expect)
        else:
            self.call(method, path, name=name, expect=slo.expect, json=slo.json)


_contents: dict[str, bytes] = {}


def _content(name: str) -> bytes:
    if name not in _contents:
        _contents[name] = (SLO.parent / name).read_bytes()
    return _contents[name]
