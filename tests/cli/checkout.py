"""A copy of this checkout for each test of `preflight up`."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from preflight.engine.docker import docker
from preflight.engine.run import LABEL, Run
from tests.spaces import copy_compose_files

ROOT = Path(__file__).resolve().parents[2]
SPACES = {
    "backend-py": "FROM python:3.11-slim-bookworm\n",
    "backend-node": "FROM node:24-bookworm-slim\n",
}
SERVE = {
    "backend-py": 'CMD ["python3", "-m", "http.server", "7860"]\nHEALTHCHECK CMD ["true"]\n',
    "backend-node": """CMD ["node", "-e", "require('http').createServer((q, a) => a.end()).listen(7860)"]
HEALTHCHECK CMD ["true"]
""",
}
# Runs, and ends at once on SIGTERM.
HANG = 'CMD ["sleep", "120"]\n'


@dataclass(frozen=True)
class Outcome:
    """The result of a command: exit code, output, and the project's remains in Docker."""

    code: int
    output: str
    left: list[str]
    seconds: float


class Checkout:
    """A copy of this checkout in another folder, and so with another Compose project.

    dockerfiles: the texts that replace the Dockerfiles of its Spaces, with or without a FROM; a Space
    without a text has no service. None: the real Dockerfiles of both Spaces.
    """

    def __init__(self, run: Run, folder: Path, dockerfiles: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.project = folder.name
        self.ports = dict(zip(SPACES, free_ports(2), strict=True))
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "COMPOSE_"))},
            "BACKEND_PY_PORT": str(self.ports["backend-py"]),
            "BACKEND_NODE_PORT": str(self.ports["backend-node"]),
        }
        copy_compose_files(folder, "compose.edge.yaml")
        for name in ("Makefile", "src"):
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, folder / name)
        if dockerfiles is None:
            copy_sources(folder)
        else:
            for name, text in dockerfiles.items():
                (folder / name).mkdir()
                (folder / name / "Dockerfile").write_text(
                    text if text.startswith("FROM") else SPACES[name] + text
                )
        self._write_compose_files(run, [*(SPACES if dockerfiles is None else dockerfiles)])

    def _write_compose_files(self, run: Run, spaces: list[str]) -> None:
        """Label Compose's objects as this run's, so that the clean-up of the run covers them."""
        document = yaml.safe_load((ROOT / "compose.yaml").read_text())
        document["networks"] = dict.fromkeys(spaces)
        document["services"] = {name: document["services"][name] for name in spaces}
        labels = {LABEL: run.id}
        for service in document["services"].values():
            build = service["build"]
            build = build if isinstance(build, dict) else {"context": build}
            service.update(labels=labels, build={**build, "labels": labels})
        document["networks"] = {name: {"labels": labels} for name in document["networks"]}
        (self.folder / "compose.yaml").write_text(yaml.safe_dump(document, sort_keys=False))

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.folder / name
        text = path.read_text()
        assert old in text, f"{name} no longer holds {old!r}"
        path.write_text(text.replace(old, new))

    def begin(self, *command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip

    def finish(self, process: subprocess.Popen[str], started: float) -> Outcome:
        try:
            output, _ = process.communicate(timeout=240)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        return Outcome(process.returncode, output, self.left(), time.monotonic() - started)

    def types(self, command: str) -> Outcome:
        """A command line of a document, in a shell."""
        started = time.monotonic()
        return self.finish(self.begin("bash", "-c", command), started)

    def make(self, *arguments: str) -> Outcome:
        started = time.monotonic()
        return self.finish(self.begin("make", *arguments), started)

    def left(self) -> list[str]:
        mark = f"label=com.docker.compose.project={self.project}"
        return [
            f"{kind} {name}"
            for kind, command in (
                ("container", ("ps", "--all", "--format", "{{.Names}}")),
                ("network", ("network", "ls", "--format", "{{.Name}}")),
                ("volume", ("volume", "ls", "--format", "{{.Name}}")),
            )
            for name in docker(*command, "--filter", mark).stdout.split()
        ]

    def images(self) -> dict[str, str]:
        """Id of each image that was built for the project, by name; `<none>` for a replaced one."""
        mark = f"label=com.docker.compose.project={self.project}"
        rows = docker(
            "image", "ls", "--no-trunc", "--filter", mark, "--format", "{{.Repository}} {{.ID}}"
        ).stdout.splitlines()
        return dict(row.split() for row in rows)

    def remove(self) -> None:
        """Remove the project's remains. The end of the run removes images, by its label."""
        for listed in self.left():
            kind, name = listed.split(" ", 1)
            docker(kind, "rm", "--force", name, check=False)


def copy_sources(folder: Path) -> None:
    """Both Spaces of the working folder, without the files that git ignores."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *SPACES],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    for name in filter(None, listing.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def free_ports(count: int) -> list[int]:
    """Ports that are free on loopback; reserved together, so that no two are equal."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def own_folder(run: Run, factory: pytest.TempPathFactory) -> Path:
    # Compose takes the folder's name as the project's; pytest-xdist numbers folders per worker.
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    return factory.mktemp(f"{run.id}-up{worker}-", numbered=True)
