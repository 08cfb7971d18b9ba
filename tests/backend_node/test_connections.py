"""The three ways to a Postgres: directly, through a pooler, through a WebSocket."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from preflight.engine.container import Container, SpaceContainer
from preflight.engine.image import build_own
from preflight.engine.run import Run
from tests.backend_node.calling import Caller
from tests.backend_node.conftest import DOUBLES, Postgres, StartAuth
from tests.backend_node.loading import SESSION, Generator, Load
from tests.backend_node.test_figures import sign_up
from tests.backend_py.figures import Figures

ROUNDS = 8
README = Path(__file__).parents[2] / "backend-node" / "README.md"


@pytest.fixture(scope="module")
def pooler(run: Run, network: str, postgres: Postgres) -> Iterator[Container]:
    """A pooler in transaction mode in front of `postgres`, with the host name `pooler`."""
    image = build_own(run, "pgbouncer", DOUBLES / "pgbouncer")
    options = [f"--network={network}", "--network-alias=pooler"]
    with SpaceContainer.start(run, image, "pooler", {}, 6432, options) as container:
        yield container


def through_pooler(url: str) -> str:
    return url.replace("postgres:5432", "pooler:6432")


def test_must_share_a_database_through_a_pooler(
    start_for_all: StartAuth, postgres: Postgres, pooler: Container
) -> None:
    """Three servers that start at once behind a pooler in transaction mode must share their accounts."""
    url = through_pooler(postgres.database())
    with ThreadPoolExecutor(3) as pool:
        start = partial(start_for_all, ready=False, DATABASE_URL=url)
        servers = [started.result() for started in [pool.submit(start) for _ in range(3)]]
        list(pool.map(lambda server: server.wait_until_serving("/ready", 60, status=200), servers))
    ada = Caller(servers[0])
    assert ada.sign_up().status_code == 200
    for server in servers:
        assert "cannot open" not in server.logs()
        assert Caller(server).session(headers={"Cookie": str(ada.cookie)}), (
            "the servers must share accounts"
        )


@pytest.mark.alone
@pytest.mark.thorough
def test_connections(
    start_auth: StartAuth,
    postgres: Postgres,
    pooler: Container,
    relay: str,
    generator: Generator,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """All three ways must serve; the README must hold the cost of each."""
    ways = {
        "direct": {"DATABASE_URL": postgres.database()},
        "pooled, by the transaction": {"DATABASE_URL": through_pooler(postgres.database())},
        "WebSocket": {"DATABASE_URL": postgres.database(), "DATABASE_WEBSOCKET": relay},
    }
    servers = {
        way: start_auth(name=f"way{number}", **environment)
        for number, (way, environment) in enumerate(ways.items())
    }
    cookies = {way: sign_up(server)[1] for way, server in servers.items()}
    looks: dict[str, list[Load]] = {way: [] for way in ways}
    # In turns, since the machine's speed changes. Other load only makes a request slower.
    for _ in range(ROUNDS):
        for way, server in servers.items():
            load = generator.load(server, SESSION, 1, 1, {"COOKIE": cookies[way]})
            assert load.count > 0
            assert load.refused == load.failed == 0
            looks[way].append(load)
    rows = [["connection", "get-session, median", "CPU time for it"], ["", "", ""]]
    for way, loads in looks.items():
        median = min(load.p50 for load in loads) * 1000
        cpu = min(load.cost for load in loads) * 1000
        rows.append([way, f"{median:.1f} ms", f"{cpu:.2f} ms"])
    # The table as that folder's formatter writes it.
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows[1] = ["-" * width for width in widths]
    aligned = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in aligned]
    Figures(capsys, README).table("backend-node connections", lines)
