"""A Space's outgoing connections must be reported, and refused as the profile says.

Both in the contract's start and behind `make edge`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from preflight.engine.compose import Compose
from preflight.engine.docker import docker
from preflight.engine.edge import ThroughEdge
from preflight.engine.image import Image, build_own, stand_in
from preflight.engine.run import LABEL, Run
from preflight.engine.start import environment_of, start
from preflight.model.hub_profile import DOCUMENTED, DOCUMENTED_PORTS, HUB, OBSERVED
from preflight.model.space import Space
from tests.conftest import compose_environment
from tests.spaces import OWN

ROOT = Path(__file__).resolve().parents[2]
PYTHON = "python:3.11-slim-bookworm"
LISTEN = """
import socket
with socket.create_server(("", 5432)) as database:
    print("listens", flush=True)
    print("reached by", database.accept()[1], flush=True)
"""
CONNECT = """
import errno, socket, sys
for port in (443, 5432):
    with socket.socket() as connecting:
        connecting.settimeout(5)
        print(errno.errorcode.get(connecting.connect_ex((sys.argv[1], port)), "connected"))
"""


@pytest.fixture
def database(run: Run) -> Iterator[str]:
    """A container of this run that listens on 5432, where Postgres would."""
    image = stand_in(PYTHON) or PYTHON
    listens = docker(
        "run", "--detach", *run.labels, image, "python", "-c", LISTEN
    ).stdout.split()[-1]  # fmt: skip
    yield listens
    docker("rm", "--force", listens, check=False)


def address_of(container: str, network: str = "bridge") -> str:
    format = f'{{{{(index .NetworkSettings.Networks "{network}").IPAddress}}}}'
    return docker("inspect", "--format", format, container).stdout.strip()


@pytest.mark.parametrize("profile", [OBSERVED, DOCUMENTED])
def test_a_database_on_5432_is_named_and_refused_by_the_documentation_alone(
    profile: str,
    run: Run,
    own_spaces: dict[str, Space],
    image_of: Callable[[Space], Image],
    database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """backend-node with a DATABASE_URL on 5432 must reach that port as observed and not as documented;
    the report must name the address in both cases."""
    monkeypatch.setattr(HUB, "outbound_ports", () if profile == OBSERVED else DOCUMENTED_PORTS)
    refused = profile == DOCUMENTED
    space, address = own_spaces["backend-node"], address_of(database)
    assert space.declaration
    url = f"postgres://auth:only-for-this-test@{address}:5432/auth"
    declared = space.declaration.valid_environment(DATABASE_URL=url, DATABASE_WEBSOCKET="")
    started = start(run, space, image_of(space), environment_of(space, declared))
    assert started.container and started.container.observer, started.failure
    try:
        end = time.monotonic() + 15
        while not (connected := started.container.observer.connections()):
            assert time.monotonic() < end, started.container.describe("connects to nothing")
            time.sleep(0.1)
        assert [
            (connection.address, connection.port, connection.refused) for connection in connected
        ] == [(address, 5432, refused)]
        assert f"{address} port 5432" in str(connected[0])
        ready = started.container.get("/ready")
        assert ready.status_code == 503, ready.text
    finally:
        started.container.remove()
    assert ("reached" in docker("logs", database).stdout) is not refused


@pytest.fixture
def for_people(
    run: Run,
    own_spaces: dict[str, Space],
    image_of: Callable[[Space], Image],
    tmp_path: Path,
) -> Iterator[Compose]:
    """The stack of `make edge`, as a project of this run, on a port that the engine chooses."""
    egress = build_own(run, "egress", ROOT / "src/preflight/engine/assets/egress").tag
    images = {
        **{name: image_of(space).tag for name, space in own_spaces.items()},
        "edge": build_own(run, "edge", ROOT / "src/preflight/engine/assets/edge").tag,
        **{f"egress-{name}": egress for name in own_spaces},
    }
    labels = {LABEL: run.id}
    services = {
        name: {"image": tag, "pull_policy": "never", "labels": labels}
        for name, tag in images.items()
    }
    override = {"services": services, "networks": {name: {"labels": labels} for name in own_spaces}}
    (tmp_path / "images.yaml").write_text(json.dumps(override))
    (tmp_path / "port.yaml").write_text(
        'services: { edge: { ports: !override ["${HOST_ADDRESS:-127.0.0.1}::443"] } }\n'
    )
    files = [ROOT / "compose.yaml", ROOT / "compose.edge.yaml"]
    files += [tmp_path / "images.yaml", tmp_path / "port.yaml"]
    # As documented: only these ports are open.
    environment = {**compose_environment(), "OUTBOUND_PORTS": "80 443 8080"}
    compose = Compose(files, f"{run.id}-people", environment)
    try:
        compose.run("up", "--detach", "--no-build", "--wait", deadline=60)
        yield compose
    finally:
        compose.run("down", "--volumes", "--timeout=1")


def test_make_edge_lets_in_and_out_what_the_hub_does(
    for_people: Compose, run: Run, own_spaces: dict[str, Space], tmp_path: Path
) -> None:
    """`make edge` must publish the edge alone, let a Space reach 443 and not 5432, and report both."""
    listed = for_people.run("ps", "--format=json").splitlines()
    states = {service["Service"]: service for service in map(json.loads, listed)}
    assert set(states) == {"edge", *own_spaces, *(f"egress-{name}" for name in own_spaces)}
    published = {
        (name, port["PublishedPort"])
        for name, state in states.items()
        for port in state["Publishers"] or []
        if port["PublishedPort"]
    }
    ((edge, port),) = published
    assert edge == "edge"
    authority = tmp_path / "root.crt"
    root = "/data/caddy/pki/authorities/local/root.crt"
    docker("cp", f"{states['edge']['ID']}:{root}", f"{authority}")
    for name in OWN:
        host = f"{HUB.owner}-{name}.hf.localhost"
        space = ThroughEdge(name, host, port, authority)
        assert space.get("/health").json()["status"] == "ok"
    target = address_of(states["edge"]["ID"], f"{run.id}-people_backend-py")
    printed = docker(
        "run", "--rm", *run.labels, f"--network=container:{states['backend-py']['ID']}", "--user=1000",
        stand_in(PYTHON) or PYTHON, "python", "-c", CONNECT, target,
    ).stdout.split()  # fmt: skip
    assert printed == ["connected", "ENETUNREACH"]
    log = docker("logs", states["egress-backend-py"]["ID"]).stdout.splitlines()
    refused = [entry for entry in map(json.loads, log) if entry.get("refused")]
    assert [(entry["address"], entry["port"]) for entry in refused] == [(target, 5432)]
