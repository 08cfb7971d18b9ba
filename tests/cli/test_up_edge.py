"""`make edge` must start both Spaces behind the edge, with each documented setting."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from preflight.engine.run import Run
from tests.cli.checkout import SERVE, Checkout, free_ports, own_folder
from tests.cli.documents import typed


@pytest.fixture(scope="module")
def behind_the_edge(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    checkout = Checkout(run, own_folder(run, tmp_path_factory), SERVE)
    for name in SERVE:
        # The mark of a Space's folder.
        (checkout.folder / name / "README.md").touch()
    checkout.environment["EDGE_PORT"] = str(*free_ports(1))
    try:
        yield checkout
    finally:
        checkout.make("down")
        checkout.remove()


@pytest.mark.parametrize(
    "command",
    [
        typed("make edge"),
        typed("PREFLIGHT=app make edge"),
        typed("X_FORWARDED_FOR=kept WAKE_SECONDS=20 make edge"),
    ],
)
def test_both_spaces_must_answer_behind_the_edge(command: str, behind_the_edge: Checkout) -> None:
    started = behind_the_edge.types(command)
    assert started.code == 0, started.output
    for name in SERVE:
        assert (
            f"https://acme-{name}.hf.localhost:{behind_the_edge.environment['EDGE_PORT']}"
            in started.output
        )
    printed = re.findall(r"^  logs: (docker compose.*) logs -f (\S+)$", started.output, re.M)
    assert {name for _, name in printed} == SERVE.keys()
    for compose, name in printed:
        assert behind_the_edge.types(f"{compose} ps --quiet {name}").output, (
            "another stack's command"
        )


@pytest.fixture
def names(behind_the_edge: Checkout) -> dict[str, str]:
    project = behind_the_edge.environment.get("COMPOSE_PROJECT_NAME", behind_the_edge.folder.name)
    return {"FOLDER": project.lower()}


def test_its_authority_must_be_there_to_copy(
    behind_the_edge: Checkout, names: dict[str, str]
) -> None:
    """A client that trusts the copied certificate must reach the edge: it answers 503 while a Space wakes."""
    copied = behind_the_edge.types(
        typed(
            "docker compose --project-name FOLDER-edge cp"
            " edge:/data/caddy/pki/authorities/local/root.crt edge.crt",
            names,
        )
    )
    assert copied.code == 0, copied.output
    # The C library does not resolve names under localhost.
    address = f"acme-backend-py.hf.localhost:{behind_the_edge.environment['EDGE_PORT']}"
    answered = behind_the_edge.types(
        f"curl -sS --cacert edge.crt --resolve {address}:127.0.0.1 https://{address}/"
    )
    assert answered.code == 0, answered.output


def test_the_connections_must_be_listed(behind_the_edge: Checkout, names: dict[str, str]) -> None:
    """The documented command must find the containers that `make edge` started."""
    listed = behind_the_edge.types(
        typed(
            "docker compose --project-name FOLDER-edge logs egress-backend-py egress-backend-node",
            names,
        )
    )
    assert listed.code == 0, listed.output
