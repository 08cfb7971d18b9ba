"""A Space that echoes each request, and an edge in front of it with the Hub's behaviour."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from preflight.engine.container import Container, SpaceContainer
from preflight.engine.edge import Edge, ThroughEdge
from preflight.engine.image import build_own
from preflight.engine.run import Run

StartEcho = Callable[..., Container]


@pytest.fixture(scope="session")
def start_echo(run: Run) -> Iterator[StartEcho]:
    """Starts the echo Space: `start_echo(REPLICA="new", START_AFTER="1")`."""
    folder = Path(__file__).parent / "echo"
    image = build_own(run, "echo", folder)
    started: list[Container] = []

    def begin(**environment: str) -> Container:
        started.append(SpaceContainer.start(run, image, "echo", environment))
        return started[-1]

    yield begin
    for container in started:
        container.remove()


@pytest.fixture(scope="session")
def echo(start_echo: StartEcho) -> Container:
    """The echo Space, without an edge."""
    container = start_echo(REPLICA="old")
    container.wait_until_serving()
    return container


@pytest.fixture(scope="session")
def edge(run: Run, echo: Container) -> Iterator[Edge]:
    """The edge with its default settings."""
    with Edge(run, {"echo": echo}) as started:
        yield started


@pytest.fixture(scope="session")
def public(edge: Edge) -> ThroughEdge:
    """The echo Space through the edge, as a visitor reaches it on the Hub."""
    return edge.space("echo")
