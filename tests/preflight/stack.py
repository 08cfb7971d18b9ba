"""The stack of compose.yaml and compose.test.yaml, through pytest-docker with its gaps closed.

pytest-docker 3.2 has no deadline on any command, leaves everything behind when `up` fails, keeps
no logs, caches ports that change at a restart, and starts one stack for each xdist worker.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import engine
from pytest_docker.plugin import DockerComposeExecutor
from pytest_docker.plugin import Services as PytestDockerServices

from preflight.container import Container
from preflight.docker import DockerError, docker
from preflight.image import Image
from preflight.run import LABEL, Run

UP_DEADLINE = 120


class Compose(DockerComposeExecutor):
    """Runs `docker compose` with a deadline and without a shell."""

    def execute(self, subcommand: str, **_: Any) -> bytes:
        return self.run(*shlex.split(subcommand)).encode()

    def run(self, *arguments: str, deadline: float = 60) -> str:
        """Output of `docker compose ARGUMENTS` for this project's files. Raises DockerError."""
        files = [f"--file={path}" for path in self._compose_files]
        local = engine.host() == "127.0.0.1"
        return docker(
            "compose", *files, f"--project-name={self._compose_project_name}", *arguments,
            deadline=deadline,
            # The keys in a developer's `.env` are not for tests.
            environment={
                "HOST_ADDRESS": "127.0.0.1" if local else "0.0.0.0",
                "COMPOSE_DISABLE_ENV_FILE": "1",
            },
        ).stdout  # fmt: skip


class Services(PytestDockerServices):
    """pytest-docker's services; ports are read anew each time, since a restart changes them."""

    def port_for(self, service: str, container_port: int) -> int:
        self._services.clear()
        return int(super().port_for(service, container_port))

    def container(self, service: str, port: int = 7860) -> Container:
        """The container of a service. Raises DockerError when there is none."""
        listed: str = self._docker_compose.run("ps", "--all", "--quiet", service).strip()
        if not listed:
            raise DockerError(f"the stack has no container of the service {service}")
        return Container(service, listed.splitlines()[0], port)

    def compose(self, *arguments: str) -> str:
        """Output of `docker compose ARGUMENTS` for the stack. Raises DockerError."""
        return str(self._docker_compose.run(*arguments))


def write_override(run: Run, images: dict[str, Image]) -> Path:
    """A compose file that gives each service the image built for this run, and marks what belongs to it."""
    labels = {LABEL: run.id}
    services = {
        name: {"image": image.tag, "pull_policy": "never", "labels": labels}
        for name, image in images.items()
    }
    path = run.folder / "once" / "compose.images.json"
    path.write_text(json.dumps({"services": services}, indent=1))
    return path


def up(run: Run, compose: Compose) -> None:
    """Start the stack and wait until every service is healthy.

    Raises DockerError at once when a service exits or turns unhealthy, with its last lines.
    """
    try:
        compose.run(
            "up", "--detach", "--no-build", "--wait", f"--wait-timeout={UP_DEADLINE}", "--remove-orphans",
            deadline=UP_DEADLINE + 30,
        )  # fmt: skip
    except DockerError as error:
        logs = compose.run("logs", "--no-color", "--tail=20")
        raise DockerError(
            f"the stack did not get healthy: {error}\nlast lines of its logs:\n{logs}"
        ) from None


def save_material(run: Run) -> None:
    """Keep logs from the first line and the state of every container of the run in its folder."""
    filters = ("--filter", f"label={LABEL}={run.id}")
    for line in docker(
        "ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Names}}", *filters
    ).stdout.splitlines():
        container_id, name = line.split()
        Container(name, container_id, port=0).save(run.folder)
