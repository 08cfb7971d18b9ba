"""One pytest run: the names of its containers, the folder of its artifacts, and the clean-up."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from preflight.engine import docker as commands
from preflight.engine.docker import DockerError, docker

LABEL = "dev.preflight.run"
# The folder of the values that the first process makes for all.
ONCE = "once"
# Folders of earlier runs that stay in a report folder.
KEPT_RUNS = 10


class Run:
    """Names and removes everything that a run makes. All xdist workers of a run share its id.

    reports: where its folder goes. stable: use one id for each such folder, so that a later run finds
    the stack.
    """

    def __init__(self, reports: Path, run_id: str | None = None, stable: bool = False) -> None:
        checkout = hashlib.sha256(str(reports).encode()).hexdigest()[:8]
        process = psutil.Process()
        # By the owner's pid and start time a later run detects whether this run still lives.
        own = f"{checkout}-{process.pid}-{int(process.create_time())}-{secrets.token_hex(2)}"
        self.id = run_id or (f"preflight-{checkout}-kept" if stable else f"preflight-{own}")
        self.stable = stable
        self.folder = reports / self.id

    @property
    def labels(self) -> list[str]:
        """Arguments that mark a container, network or image as this run's."""
        return ["--label", f"{LABEL}={self.id}"]

    def once(self, key: str, make: Callable[[], Any]) -> Any:
        """The JSON value that `make` returns, made by the first xdist worker that needs it.

        An error is kept as well: no worker repeats a failed call.
        """
        # Loaded on demand: checks of the files do not need it.
        from filelock import FileLock

        path = self.folder / ONCE / f"{key}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():
                try:
                    outcome = {"value": make()}
                except DockerError as error:
                    outcome = {"error": str(error)}
                path.write_text(json.dumps(outcome))
            outcome = json.loads(path.read_text())
        if "error" in outcome:
            raise DockerError(outcome["error"])
        return outcome["value"]

    def remove_all_but_the_stack(self) -> None:
        """Remove the containers of this run that no `docker compose down` would find."""
        listed = docker(
            "ps", "--all", "--filter", f"label={LABEL}={self.id}",
            "--format", '{{.ID}} {{.Label "com.docker.compose.project"}}',
        ).stdout.splitlines()  # fmt: skip
        alone = [line.strip() for line in listed if len(line.split()) == 1]
        if alone:
            docker("rm", "--force", "--volumes", *alone, check=False)

    def remove(self, keep_material: bool) -> None:
        """Remove this run's containers, networks, volumes and images, in any state."""
        commands.end_running_commands()
        commands.reopen()
        remove_everything(self.id)
        shutil.rmtree(self.folder / ONCE, ignore_errors=True)
        if not keep_material or not any(self.folder.iterdir()):
            shutil.rmtree(self.folder, ignore_errors=True)


def remove_leftovers() -> None:
    """Remove the remains of runs that were killed before their clean-up."""
    own = f'{{{{.Label "{LABEL}"}}}}'
    project = '{{.Label "com.docker.compose.project"}}'
    listed = [
        *docker("ps", "--all", "--filter", f"label={LABEL}", "--format", own).stdout.split(),
        *docker("network", "ls", "--format", project).stdout.split(),
        *docker("image", "ls", "--filter", f"label={LABEL}", "--format", "{{.Tag}}").stdout.split(),
    ]
    for run_id in set(listed):
        parts = run_id.split("-")
        # An id that ends in "kept" has no owner: a later --reuse takes it over.
        if (
            run_id.startswith("preflight-")
            and len(parts) == 5
            and not _lives(int(parts[2]), int(parts[3]))
        ):
            remove_everything(run_id)


def remove_old_folders(reports: Path) -> None:
    """Remove the folders of runs in `reports`, except the newest ten and those of living runs."""
    folders = [path for path in reports.glob("preflight-*-*-*-*") if path.is_dir()]
    folders.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for folder in folders[KEPT_RUNS:]:
        parts = folder.name.split("-")
        if len(parts) == 5 and not _lives(int(parts[2]), int(parts[3])):
            shutil.rmtree(folder, ignore_errors=True)


def _lives(pid: int, started: int) -> bool:
    try:
        return abs(int(psutil.Process(pid).create_time()) - started) <= 1
    except psutil.NoSuchProcess:
        return False


def remove_everything(run_id: str) -> None:
    """Remove the containers, networks, volumes and images of a run."""
    # Docker may finish creating a container after its command was killed, so remove twice.
    for _ in range(3):
        listed = docker(
            "ps", "--all", "--quiet", "--filter", f"label={LABEL}={run_id}"
        ).stdout.split()
        if listed:
            docker("rm", "--force", "--volumes", *listed, check=False)
    project = f"label=com.docker.compose.project={run_id}"
    for kind in ("network", "volume"):
        for mark in (project, f"label={LABEL}={run_id}"):
            listed = docker(kind, "ls", "--quiet", "--filter", mark).stdout.split()
            if listed:
                docker(kind, "rm", *listed, check=False)
    # An image whose name a newer image has taken has only its id.
    name = '{{if eq .Tag "<none>"}}{{.ID}}{{else}}{{.Repository}}:{{.Tag}}{{end}}'
    images = docker(
        "image", "ls", "--filter", f"label={LABEL}={run_id}", "--format", name
    ).stdout.split()
    if images:
        docker("image", "rm", *images, check=False)
