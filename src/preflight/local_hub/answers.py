"""Parts of the Hub's answers: errors, a Space's runtime, its address."""

from __future__ import annotations

import subprocess
from typing import Any

from preflight.engine.docker import docker
from preflight.local_hub.repository import Space, State, now

SLEEP_AFTER = 48 * 3600
"""Seconds without a visitor, for hardware `cpu-basic`. Source: hub-docs spaces-gpus.md."""
Route = tuple[str, list[str], str]
"""Path, methods, and the name of the method that answers."""


class Refused(Exception):
    """An error answer: status, message, the Hub's name of the error, further fields of the body."""

    def __init__(self, status: int, message: str, code: str = "", **more: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.more = more


def runtime_of(space: Space) -> dict[str, Any]:
    """The Space as `get_space_runtime` returns it. Detects a replica that has ended by itself."""
    state = space.state
    if state.stage == "RUNNING":
        shown = docker(
            "inspect", "--format", "{{.State.Running}} {{.State.ExitCode}}", str(state.container),
            check=False,
        ).stdout.split()  # fmt: skip
        if shown[:1] != ["true"]:
            with space.change() as latest:
                if latest.container == state.container and latest.stage == "RUNNING":
                    code = shown[1] if shown else "unknown"
                    latest.stage, latest.error = "RUNTIME_ERROR", f"Exit code: {code}."
            state = space.state
    hardware = "cpu-basic" if state.container else None
    found: dict[str, Any] = {
        "stage": state.stage,
        "hardware": {"current": hardware, "requested": "cpu-basic"},
        "gcTimeout": SLEEP_AFTER,
        "replicas": {"current": 1 if state.container else 0, "requested": 1},
        "devMode": False,
        "domains": [{"domain": url_of(space, state).removeprefix("https://"), "stage": "READY"}],
        "sha": state.serving_sha,
    }
    return found | ({"errorMessage": state.error} if state.error else {})


def setting_of(given: dict[str, str]) -> dict[str, str]:
    """A stored Variable or Secret: value, description, time of entry."""
    described = {"description": given["description"]} if given.get("description") else {}
    return {"value": given["value"], **described, "updatedAt": now()}


def commit_of(space: Space, revision: str) -> str:
    """The id of a revision's commit. Raises Refused when there is none."""
    try:
        return space.git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    except subprocess.CalledProcessError:
        raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound") from None


def url_of(space: Space, state: State) -> str:
    """Where the Space answers; without a port until its first build."""
    port = f":{state.edge_port}" if state.edge_port else ""
    return f"https://{space.subdomain}.hf.localhost{port}"
