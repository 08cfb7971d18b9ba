"""compose.yaml must pass each Space all variables that it declares, and none of the other's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from preflight.cli import stack
from preflight.model.space import Space, spaces_of_compose
from tests.spaces import OWN

COMPOSE = Path(__file__).resolve().parents[2] / "compose.yaml"
OWN_SPACES = [space for space in spaces_of_compose(COMPOSE) if space.name in OWN]
# The Hub's variables, and the port inside the container, which compose.yaml maps.
NOT_PASSED = {"SYSTEM", "SPACE_HOST", "PORT"}


@pytest.mark.parametrize("service", OWN_SPACES, ids=lambda service: service.name)
def test_every_declared_variable_can_be_set(service: Space) -> None:
    """A value that a user sets in `.env` must reach the Space that declares it, and only that Space."""
    passed = yaml.safe_load(COMPOSE.read_text())["services"][service.name]["environment"]
    assert service.declaration
    declared = {variable.name for variable in service.declaration.variables}
    assert set(passed) == declared - NOT_PASSED


@pytest.mark.parametrize("service", OWN_SPACES, ids=lambda service: service.name)
def test_usual_front_ends_must_be_trusted_by_default(service: Space) -> None:
    """localhost and 127.0.0.1 are two origins; 3000 and 5173 are the usual ports."""
    passed = yaml.safe_load(COMPOSE.read_text())["services"][service.name]["environment"]
    for host in ("localhost", "127.0.0.1"):
        for port in (3000, 5173):
            assert f"http://{host}:{port}" in passed["CORS_ORIGINS"]


def test_the_stack_behind_the_edge_must_be_another_project(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`make edge` must not replace the containers of `make up`."""
    monkeypatch.chdir(COMPOSE.parent)
    monkeypatch.delenv("COMPOSE_PROJECT_NAME", raising=False)
    names = [stack.project(edge)[1]["name"] for edge in (False, True)]
    assert names[1] == f"{names[0]}-edge"


def test_git_must_ignore_the_certificate_of_the_edge() -> None:
    """docs/load.md writes edge.crt into the checkout."""
    done = subprocess.run(["git", "check-ignore", "edge.crt"], cwd=COMPOSE.parent, timeout=30)
    assert done.returncode == 0


def test_a_load_must_go_to_the_ports_of_this_folders_stack(tmp_path: Path) -> None:
    """The port that Compose publishes must be loaded, not the default port."""
    port = {"TargetPort": 7860, "PublishedPort": 17861}
    listed = json.dumps({"Service": "backend-py", "Publishers": [port]})
    docker = tmp_path / "docker"
    docker.write_text(f"#!/bin/sh\ncase $* in 'compose ps '*) echo '{listed}';; esac\n")
    docker.chmod(0o755)
    # In a process of its own: Locust replaces the standard library's sockets and threads.
    code = "from preflight.load import options; print(options._published())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "DOCKER_HOST": "unix:///x"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stdout == "{'backend-py': 'http://127.0.0.1:17861'}\n", done.stderr
