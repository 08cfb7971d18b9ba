"""A second `preflight up` must keep the user's data and leave other folders' projects alone."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from preflight.cli import stack
from preflight.engine.docker import docker
from preflight.engine.run import Run
from tests.cli.checkout import SERVE, Checkout, own_folder

NEXT = ("backend-py/Dockerfile", "HEALTHCHECK", "RUN touch /next\nHEALTHCHECK")
BROKEN_BUILD = ("backend-py/Dockerfile", "HEALTHCHECK", "RUN exit 3\nHEALTHCHECK")
NEVER_SERVES = ("backend-py/Dockerfile", '"http.server", "7860"]', '"no_such_module"]')


@pytest.fixture
def running(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A checkout with two running Spaces, and a user's file in one of them."""
    checkout = Checkout(run, own_folder(run, tmp_path_factory), SERVE)
    try:
        started = checkout.make("up")
        assert started.code == 0, started.output
        docker("exec", f"{checkout.project}-backend-py-1", "touch", "/tmp/account")
        yield checkout
    finally:
        checkout.remove()


def stored(checkout: Checkout) -> bool:
    container = f"{checkout.project}-backend-py-1"
    return docker("exec", container, "ls", "/tmp/account", check=False).returncode == 0


@pytest.mark.parametrize(
    ("edit", "reason"),
    [(BROKEN_BUILD, "exit code: 3"), (NEVER_SERVES, "No module named no_such_module")],
    ids=["build", "start"],
)
def test_a_failing_up_must_leave_what_runs(
    running: Checkout, edit: tuple[str, str, str], reason: str
) -> None:
    running.edit(*edit)

    again = running.make("up")

    assert again.code == 2 and reason in again.output, again.output
    assert "What ran before goes on, unchanged." in again.output
    assert stored(running), "the container was replaced"
    url = f"http://127.0.0.1:{running.ports['backend-py']}/"
    assert requests.get(url, timeout=5).status_code == 200
    assert not [name for name in running.left() if "-trial" in name]


def test_must_keep_the_running_stack_when_a_port_is_taken(running: Checkout) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        running.environment["BACKEND_PY_PORT"] = str(holder.getsockname()[1])
        again = running.make("up")

    assert again.code == 2 and "is taken" in again.output, again.output
    assert stored(running), "the container was replaced"


def test_a_changed_space_must_be_replaced_once_it_is_healthy(running: Checkout) -> None:
    running.edit(*NEXT)

    again = running.make("up")

    assert again.code == 0, again.output
    assert "trying the new backend-py beside the running stack" in again.output
    container = f"{running.project}-backend-py-1"
    assert docker("exec", container, "ls", "/next", check=False).returncode == 0
    assert not [name for name in running.left() if "-trial" in name]


def test_what_did_not_change_must_go_on(running: Checkout) -> None:
    assert running.make("up").code == 0
    assert stored(running)


def test_another_folder_of_the_same_name_must_not_be_touched(
    running: Checkout, run: Run, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A checkout in another folder of the same name must stay: to Compose both are one project."""
    folder = tmp_path_factory.mktemp("elsewhere") / running.folder.name
    folder.mkdir()
    other = Checkout(run, folder, SERVE)

    for command in ("up", "down"):
        outcome = other.make(command)
        assert outcome.code == 2, outcome.output
        assert f"belongs to another folder: {running.folder}" in outcome.output
        assert "COMPOSE_PROJECT_NAME=" in outcome.output
    assert stored(running)

    other.environment["COMPOSE_PROJECT_NAME"] = f"{running.project}-2"
    try:
        assert other.make("up").code == 0
        assert other.make("down").code == 0
    finally:
        other.project = f"{running.project}-2"
        other.remove()
    assert stored(running)


def test_two_taken_ports_must_come_with_one_line_that_works(
    run: Run, tmp_path_factory: pytest.TempPathFactory
) -> None:
    checkout = Checkout(run, own_folder(run, tmp_path_factory), SERVE)
    holders = [socket.create_server(("127.0.0.1", port)) for port in checkout.ports.values()]
    try:
        refused = checkout.make("up")
        assert refused.output.count("is taken") == 2, refused.output
        line = re.search(r"choose other ports: (.+) make up$", refused.output, re.M)
        assert line, refused.output
        checkout.environment |= dict(part.split("=") for part in line[1].split())
        assert checkout.make("up").code == 0
    finally:
        for holder in holders:
            holder.close()
        checkout.remove()


@pytest.mark.parametrize(("target", "name"), [("up", "BACKEND_PY_PORT"), ("edge", "EDGE_PORT")])
def test_a_port_out_of_range_must_be_named_by_its_variable(
    target: str, name: str, run: Run, tmp_path_factory: pytest.TempPathFactory
) -> None:
    checkout = Checkout(run, own_folder(run, tmp_path_factory), SERVE)
    checkout.environment[name] = "99999"
    outcome = checkout.make(target)
    assert outcome.code == 2
    assert f"fix: give a port between 1 and 65535: {name}=99999" in outcome.output


def test_a_quoted_port_of_dotenv_must_be_named_too(
    run: Run, tmp_path_factory: pytest.TempPathFactory
) -> None:
    checkout = Checkout(run, own_folder(run, tmp_path_factory), SERVE)
    del checkout.environment["BACKEND_PY_PORT"]
    (checkout.folder / ".env").write_text('BACKEND_PY_PORT="99999"\n')
    outcome = checkout.make("up")
    assert "fix: give a port between 1 and 65535: BACKEND_PY_PORT=99999" in outcome.output


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({"a", "b"}, "What ran before goes on, unchanged."),
        ({"a", "b", "trial"}, "What ran before goes on, unchanged."),
        ({"a", "new"}, "Some of what ran before was replaced"),
    ],
)
def test_a_failing_up_must_say_whether_it_replaced_something(
    now: set[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a healthy trial, the last step may fail with a container already replaced."""
    monkeypatch.setattr(stack, "running", lambda project: frozenset(now))
    assert stack.fate_of(frozenset({"a", "b"}), "any").startswith(said)


def test_a_misspelt_variable_of_dotenv_must_be_reported(
    run: Run, tmp_path_factory: pytest.TempPathFactory
) -> None:
    checkout = Checkout(run, own_folder(run, tmp_path_factory), SERVE)
    (Path(checkout.folder) / ".env").write_text("SIGNUPS=closed\nSIGNUP=open\n")
    try:
        outcome = checkout.make("up")
    finally:
        checkout.remove()
    assert outcome.code == 0, outcome.output
    assert "no service of compose.yaml reads SIGNUPS. Did you mean SIGNUP?" in outcome.output
    assert "reads SIGNUP." not in outcome.output


def test_every_space_that_refuses_its_environment_must_be_reported(
    run: Run, tmp_path_factory: pytest.TempPathFactory
) -> None:
    refuse = 'CMD echo "{name}: MODE is wrong" >&2; exit 78\n'
    spaces = {name: refuse.format(name=name) for name in SERVE}
    checkout = Checkout(run, own_folder(run, tmp_path_factory), spaces)
    outcome = checkout.make("up")
    assert outcome.code == 2 and outcome.left == []
    for name in SERVE:
        assert f"{name}: MODE is wrong" in outcome.output
