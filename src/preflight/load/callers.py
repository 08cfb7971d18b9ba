"""The locustfile of `preflight load`: the gate, the shape, and people who request what slo.toml names.

A table of slo.toml names how its request is made; `loadfile.py` beside it may hold other people.
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
    """What the Callers of a slo.toml request; empty where it can't be read, which the gate reports."""
    try:
        return [s for s in load(path).slos.values() if s.by == CALLER and s.is_request]
    except SloError:
        return []


class Caller(Person):
    """A person who makes one request of slo.toml after the other, each as often as its weight says."""

    requests = requests_of(SLO)
    weights = tuple(slo.weight for slo in requests)
    # Locust leaves an abstract class out: with a loadfile.py, slo.toml may know no Callers.
    abstract = not requests and SLO.with_name("loadfile.py").is_file()

    def wait_time(self) -> float:
        """Seconds between two requests of the closed model: half to one and a half times --think."""
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
