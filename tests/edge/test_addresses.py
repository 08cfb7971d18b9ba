"""The edge must reach a replica at whichever of its addresses the server listens."""

from __future__ import annotations

from preflight.engine.container import Container
from preflight.engine.edge import Edge
from preflight.engine.run import Run

from .conftest import StartEcho


def test_must_reach_a_server_that_listens_at_its_host_name_alone(
    run: Run, start_echo: StartEcho, echo: Container
) -> None:
    """Such a server misses the edge's network. The next replica of the name must replace its address."""
    own = start_echo(REPLICA="at its host name", HOST="its-own")
    own.wait_until_serving()
    with Edge(run, {"echo": own}) as edge:
        assert edge.space("echo").get("/").json()["replica"] == "at its host name"
        edge.switch("echo", echo)
        own.remove()
        assert edge.space("echo").get("/").json()["replica"] == "old"


def test_must_not_reach_a_server_that_no_address_offers(run: Run, start_echo: StartEcho) -> None:
    late = start_echo(START_AFTER="60")
    with Edge(run, {"echo": late}) as edge:
        assert edge.space("echo").get("/").status_code == 503
