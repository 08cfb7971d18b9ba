"""A stack of Compose services: started, looked into, removed, each command with a deadline."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from preflight.engine import install
from preflight.engine.container import Container
from preflight.engine.docker import DockerError, docker
from preflight.engine.image import Image
from preflight.engine.run import LABEL, Run

UP_DEADLINE = 120


@dataclass(frozen=True)
class Compose:
    """The services of these compose files, as one project."""

    files: Sequence[str | Path]
    project: str

    def run(self, *arguments: str, deadline: float = 60) -> str:
        """Output of `docker compose ARGUMENTS` for the project. Raises DockerError."""
        files = [f"--file={path}" for path in self.files]
        local = install.host() == "127.0.0.1"
        return docker(
            "compose", *files, f"--project-name={self.project}", *arguments,
            deadline=deadline,
            # The keys in a developer's `.env` are not for tests.
            environment={
                "HOST_ADDRESS": "127.0.0.1" if local else "0.0.0.0",
                "COMPOSE_DISABLE_ENV_FILE": "1",
            },
        ).stdout  # fmt: skip

    def up(self) -> None:
        """Start the stack and wait until every service is healthy.

        Raises DockerError at once when a service exits or turns unhealthy, with its last lines.
        """
        try:
            self.run(
                "up", "--detach", "--no-build", "--wait", f"--wait-timeout={UP_DEADLINE}", "--remove-orphans",
                deadline=UP_DEADLINE + 30,
            )  # fmt: skip
        except DockerError as error:
            logs = self.run("logs", "--no-color", "--tail=20")
            raise DockerError(
                f"the stack did not get healthy: {error}\nlast lines of its logs:\n{logs}"
            ) from None

    def container(self, service: str, port: int = 7860) -> Container:
        """The container of a service. Raises DockerError when there is none."""
        listed = self.run("ps", "--all", "--quiet", service).strip()
        if not listed:
            raise DockerError(f"the stack has no container of the service {service}")
        return Container(service, listed.splitlines()[0], port)


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


def save_material(run: Run) -> None:
    """Keep logs from the first line and the state of every container of the run in its folder."""
    filters = ("--filter", f"label={LABEL}={run.id}")
    for line in docker(
        "ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Names}}", *filters
    ).stdout.splitlines():
        container_id, name = line.split()
        Container(name, container_id, port=0).save(run.folder)
