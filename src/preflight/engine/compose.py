"""The life cycle of a stack of Compose services: build, start, wait, inspect, remove.

Standard library only: `preflight up` uses it before anything is installed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from preflight.engine.docker import Completed, DockerError, docker
from preflight.engine.waiting import NotYet, wait_until

UP_DEADLINE = 120
DOWN_DEADLINE = 120
PROJECT = "com.docker.compose.project"
FOLDER = "com.docker.compose.project.working_dir"


@dataclass(frozen=True)
class NotHealthy:
    """Why a service does not serve.

    state: of its container. exit_code: when it ended. probes: what its last health checks printed.
    """

    service: str
    state: str
    exit_code: int | None
    probes: Sequence[str]
    log: str

    def __str__(self) -> str:
        what = self.state
        if self.exit_code is not None:
            what = f"ended with exit code {self.exit_code} before it was healthy"
        lines = [line for line in self.log.splitlines() if line.strip()][-10:]
        shown = "\n".join(f"    {line[:400]}" for line in lines) or "    (it printed nothing)"
        probes = "".join(f"\nhealth check: {line[:400]}" for line in self.probes)
        return f"{self.service}: the container {what}.\n{shown}{probes}"


class StackError(DockerError):
    """One or more services of a stack do not serve."""

    def __init__(self, failures: Sequence[NotHealthy]) -> None:
        super().__init__("\n".join(map(str, failures)))
        self.failures = failures


@dataclass(frozen=True)
class Compose:
    """The services of these compose files, as one project. environment: beside the inherited one."""

    files: Sequence[str | Path]
    project: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def command(self) -> list[str]:
        """The start of each command, as a user would type it after `docker`."""
        project = [f"--project-name={self.project}"] if self.project else []
        return ["compose", *(f"--file={path}" for path in self.files), *project]

    def run(self, *arguments: str, deadline: float = 60, log: Path | None = None) -> str:
        """Output of `docker compose ARGUMENTS`; with `log` it goes to that file. Raises DockerError."""
        return docker(
            *self.command, *arguments, deadline=deadline, environment=self.environment, log=log
        ).stdout

    def try_run(self, *arguments: str, deadline: float = 60) -> Completed:
        """The result of `docker compose ARGUMENTS`, with any exit code. Raises DockerError at the deadline."""
        return docker(
            *self.command, *arguments, deadline=deadline, environment=self.environment, check=False
        )

    def config(self) -> dict[str, Any]:
        """The project as Compose reads it. Raises DockerError when a file is not valid."""
        read: dict[str, Any] = json.loads(self.run("config", "--format", "json", deadline=30))
        return read

    def up(self, *services: str, log: Path | None = None) -> None:
        """Start `services`, or all, and wait until each is healthy, or has ended with exit code 0.

        Raises StackError with all that failed as soon as each service's outcome is clear.
        """
        flags = ["--detach", "--no-build", "--remove-orphans"]
        self.run("up", *flags, *services, deadline=UP_DEADLINE, log=log)
        self.wait(*services)

    def wait(self, *services: str, deadline: float = UP_DEADLINE) -> None:
        """Wait until `services`, or all, are healthy or ended with exit code 0. Raises StackError."""
        names = services or tuple(self.run("config", "--services").split())
        end = time.monotonic() + deadline
        failures = [failure for name in names if (failure := self._wait_for(name, end))]
        if failures:
            raise StackError(failures)

    def container(self, service: str) -> str:
        """The id of a service's container. Raises DockerError when there is none."""
        listed = self.run("ps", "--all", "--quiet", service).split()
        if not listed:
            raise DockerError(f"the stack has no container of the service {service}")
        return listed[0]

    def down(self, *flags: str, log: Path | None = None) -> None:
        """Remove the project's containers, networks and volumes. Raises DockerError."""
        self.run(
            "--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "10", *flags,
            deadline=DOWN_DEADLINE, log=log,
        )  # fmt: skip

    def _wait_for(self, service: str, end: float) -> NotHealthy | None:
        container = self.container(service)

        def look() -> NotHealthy | None:
            found = docker("inspect", "--format", "{{json .State}}", container, check=False).stdout
            state: dict[str, Any] = json.loads(found or "{}")
            status, health = state.get("Status", "gone"), state.get("Health") or {}
            code = state.get("ExitCode")
            if health.get("Status") == "healthy" or (status == "exited" and code == 0):
                return None
            # Without a HEALTHCHECK, a running container is the final state.
            if status == "running" and not health:
                return None
            if status not in ("created", "running"):
                return self._not_healthy(service, container, f"is {status}", code, health)
            if health.get("Status") == "unhealthy":
                return self._not_healthy(service, container, "is unhealthy", None, health)
            if time.monotonic() > end:
                what = f"is not healthy after {UP_DEADLINE} s"
                return self._not_healthy(service, container, what, None, health)
            raise NotYet(health.get("Status") or status)

        # Docker probes every 200 ms (start_interval), and each inspection is a process.
        return wait_until(f"{service}: waits for its health", end - time.monotonic() + 5, look, 0.1)

    @staticmethod
    def _not_healthy(
        service: str, container: str, state: str, code: int | None, health: dict[str, Any]
    ) -> NotHealthy:
        done = docker("logs", container, check=False)
        lines = [line for probe in health.get("Log") or [] for line in probe["Output"].split("\n")]
        probes = [line for line in lines[-2:] if line.strip()]
        return NotHealthy(service, state, code, probes, done.stdout + done.stderr)


def left_of(project: str) -> dict[str, list[str]]:
    """The names of a project's containers, networks and volumes."""
    mark = f"--filter=label={PROJECT}={project}"
    return {
        "container": docker("ps", "--all", "--format", "{{.Names}}", mark).stdout.split(),
        "network": docker("network", "ls", "--format", "{{.Name}}", mark).stdout.split(),
        "volume": docker("volume", "ls", "--format", "{{.Name}}", mark).stdout.split(),
    }


def folder_of(project: str) -> str | None:
    """The folder that a project's containers were started from; None when there are none."""
    mark = f"--filter=label={PROJECT}={project}"
    shown = docker("ps", "--all", "--format", f'{{{{.Label "{FOLDER}"}}}}', mark).stdout.split("\n")
    return next((folder for folder in shown if folder), None)
