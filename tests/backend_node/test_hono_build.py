"""The cost of the HTTP layer with Hono, measured on the same service beside the pushed Space."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from preflight.engine.container import Container, SpaceContainer
from preflight.engine.image import Image, build
from preflight.engine.run import Run
from preflight.model.space import Space
from tests.backend_node.calling import COMMON
from tests.backend_node.conftest import READ_ONLY
from tests.backend_node.loading import HEALTH, SESSION, Generator
from tests.backend_node.test_figures import best, cell, sign_up
from tests.backend_py.figures import Figures

FOLDER = Path(__file__).with_name("hono_build")
OURS = ["http-server.ts", "http-router.ts", "http-answer.ts", "auth-calls.ts"]


@pytest.fixture
def figures(capsys: pytest.CaptureFixture[str]) -> Figures:
    return Figures(capsys)


@pytest.fixture
def servers(
    run: Run, node_image: Image, peers_image: Image, network: str
) -> Iterator[dict[str, Container]]:
    """A bare server, the Space, and the Space with Hono."""
    hono = build(run, "hono-build", FOLDER, variables={"BACKEND_NODE": node_image.tag})
    environment = {**COMMON, "DATABASE_URL": "sqlite:/home/node/auth.db"}
    with ExitStack() as stack:

        def start(name: str, image: Image, given: dict[str, str], *options: str) -> Container:
            join = [f"--network={network}", f"--network-alias={name}", *options]
            server = stack.enter_context(
                SpaceContainer.start(run, image, name, given, options=join)
            )
            server.wait_until_serving(HEALTH, status=200)
            return server

        yield {
            "bare": start("bare-beside", peers_image, {}),
            "ours": start("ours-beside", node_image, environment, *READ_ONLY),
            "hono": start("hono-beside", hono, environment, *READ_ONLY),
        }


def lines(*files: Path) -> int:
    """The lines that are not blank."""
    return sum(bool(line.strip()) for file in files for line in file.read_text().splitlines())


@pytest.mark.alone
@pytest.mark.thorough
def test_beside_hono(
    servers: dict[str, Container],
    generator: Generator,
    own_spaces: dict[str, Space],
    figures: Figures,
) -> None:
    """The same headers, log and limits must cost less CPU time without Hono, on each short path."""
    floor = best(generator, servers["bare"], HEALTH)
    rows = []
    costs: dict[str, list[float]] = {}
    for name in ("ours", "hono"):
        server = servers[name]
        server.wait_until_serving("/ready", status=200)
        _, cookie = sign_up(server)
        requests = [(HEALTH, {}), (SESSION, {}), (SESSION, {"COOKIE": cookie})]
        loads = [best(generator, server, path, request) for path, request in requests]
        costs[name] = [load.cost for load in loads]
        rows.append([cell(load, floor) for load in loads])
    folder = own_spaces["backend-node"].folder
    written = [lines(*(folder / name for name in OURS)), lines(FOLDER / "http-server.ts")]
    names = ["`node:http`: this Space", "Hono and its Node server"]
    head = [
        "HTTP layer",
        "`/health`",
        "get-session without a session",
        "get-session with a cookie",
        "lines",
    ]
    table = [head, ["---"] * len(head)]
    table += [
        [name, *row, str(count)] for name, row, count in zip(names, rows, written, strict=True)
    ]
    figures.table("backend-node hono", [f"| {' | '.join(line)} |" for line in table])
    for ours, theirs in zip(costs["ours"], costs["hono"], strict=True):
        assert ours < theirs
