"""compose.yaml as `preflight up` reads it. Standard library only."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preflight.engine import base_images
from preflight.engine.compose import PROJECT, Compose
from preflight.engine.docker import DockerError, docker
from preflight.engine.install import say
from preflight.model.program import typed

COMPOSE = Path("compose.yaml")
EDGE = Path("compose.edge.yaml")


class Failed(Exception):
    """The command failed; the message names the Space, the step and the fix."""


@dataclass(frozen=True)
class Service:
    """A service that is built here. ports: its published ports."""

    name: str
    folder: Path
    ports: list[int]

    @property
    def dockerfile(self) -> Path:
        return self.folder / "Dockerfile"

    @property
    def is_space(self) -> bool:
        """Whether it is a Space's folder; the edge and its like are not."""
        return (self.folder / "README.md").is_file()

    @property
    def base_images(self) -> list[str]:
        """The images that its Dockerfile builds on."""
        return base_images.named_in(self.dockerfile.read_text(errors="replace"))


def project(edge: bool) -> tuple[Compose, dict[str, Any]]:
    """The stack of this folder, and its configuration as Compose reads it.

    edge: the stack behind the edge, in a separate project. Raises Failed when the files are
    invalid.
    """
    if not COMPOSE.is_file():
        raise Failed(
            "this folder has no compose.yaml.\nfix: run the command in the folder that has it."
        )
    compose = Compose([COMPOSE], os.environ.get("COMPOSE_PROJECT_NAME", ""))
    config = _config(compose)
    if edge:
        compose = Compose([COMPOSE, EDGE], f"{config['name']}-edge")
        config = _config(compose)
    return compose, config


def services(config: Mapping[str, Any]) -> list[Service]:
    """The services that are built here. Raises Failed when one has no Dockerfile."""
    found = [
        Service(
            name,
            Path(service["build"]["context"]),
            [int(port["published"]) for port in service.get("ports", [])],
        )
        for name, service in config["services"].items()
        if "build" in service
    ]
    for service in found:
        if not service.folder.is_dir():
            raise Failed(
                f"{service.name}: {service.folder} is absent.\n"
                f"fix: put the folder back, or remove the service: {typed(f'new {service.name} --remove')}"
            )
        if not service.dockerfile.is_file():
            raise Failed(
                f"{service.name}: {service.dockerfile} is absent.\n"
                "fix: write it at the root of the Space's folder; the Hub builds no other file."
            )
    return found


def changed(compose: Compose, project: str) -> set[str]:
    """The services whose running container differs from their present image or configuration."""
    hashes = dict(line.split() for line in compose.run("config", "--hash", "*").splitlines())
    label = "com.docker.compose.{}"
    shown = docker(
        "ps", "--format", "\t".join('{{.Label "' + label.format(key) + '"}}' for key in ("service", "config-hash", "image")),
        f"--filter=label={PROJECT}={project}",
    ).stdout  # fmt: skip
    running = {line.split("\t")[0]: line.split("\t")[1:] for line in shown.splitlines()}
    config = compose.config()["services"]
    images = {name: config[name].get("image", f"{project}-{name}") for name in hashes}
    return {
        name
        for name, digest in hashes.items()
        if running.get(name) != [digest, _image_id(images[name])]
    }


def warn_of_unknown_variables(config: Mapping[str, Any]) -> None:
    """Print the names in `.env` that no service reads, since Compose ignores a typo there."""
    if not Path(".env").is_file():
        return
    text = "\n".join(path.read_text() for path in (COMPOSE, EDGE) if path.is_file())
    known = set(re.findall(r"\$\{(\w+)", text))
    for service in config["services"].values():
        known |= set(service.get("environment") or {})
    for name in re.findall(r"^\s*(?:export\s+)?(\w+)\s*=", Path(".env").read_text(), re.M):
        if name not in known and not name.startswith("COMPOSE_"):
            near = difflib.get_close_matches(name, known, 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            say(f".env: no service of compose.yaml reads {name}.{hint}")


def write_stand_ins(path: Path, found: list[Service], stand_ins: Mapping[str, str]) -> None:
    """A compose file that points each build at the stand-ins of its base images."""
    contexts = {
        service.name: {
            image: f"docker-image://{stand_ins[image]}"
            for image in service.base_images
            if image in stand_ins
        }
        for service in found
    }
    document = {
        "services": {
            name: {"build": {"additional_contexts": images}}
            for name, images in contexts.items()
            if images
        }
    }
    make_ignored(path.parent)
    # JSON is YAML.
    path.write_text(json.dumps(document, indent=1) + "\n")


def edge_url(name: str) -> str:
    """Where the edge serves a Space on this machine."""
    owner, port = os.environ.get("OWNER", "acme"), os.environ.get("EDGE_PORT", "8443")
    return f"https://{owner}-{name}.hf.localhost:{port}"


def make_ignored(folder: Path) -> None:
    """Make a folder with a .gitignore that ignores everything in it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n")


def _config(compose: Compose) -> dict[str, Any]:
    try:
        return compose.config()
    except DockerError as error:
        message = str(error).partition(":\n")[2] or str(error)
        text = "\n".join(Path(file).read_text(errors="replace") for file in compose.files)
        names = dict.fromkeys(re.findall(r"\$\{(\w+_PORT)\b", text))
        given = {name: value for name in names if (value := _value_of(name))}
        culprits = [f"{name}={value}" for name, value in given.items() if value in message]
        which = f"\nfix: give a port between 1 and 65535: {', '.join(culprits)}" if culprits else ""
        raise Failed(f"compose.yaml is not valid with these variables:\n{message}{which}") from None


def running(project: str) -> frozenset[str]:
    """The ids of the project's running containers; the same id is the same container, not restarted by Compose."""
    label = f"label=com.docker.compose.project={project}"
    done = docker("ps", "--quiet", "--no-trunc", "--filter", label, check=False)
    return frozenset(done.stdout.split())


def fate_of(before: frozenset[str], project: str) -> str:
    """What an `up` that failed or was interrupted has left of the containers that ran before."""
    if before <= running(project):
        return "What ran before goes on, unchanged."
    return "Some of what ran before was replaced: `docker compose ps` shows what runs now."


def _value_of(name: str) -> str | None:
    if name in os.environ:
        return os.environ[name]
    text = Path(".env").read_text() if Path(".env").is_file() else ""
    found = re.search(rf"^\s*(?:export\s+)?{name}\s*=\s*(\S+)", text, re.M)
    return found[1].strip("\"'") if found else None


def _image_id(name: str) -> str:
    return docker("image", "inspect", "--format", "{{.Id}}", name, check=False).stdout.strip()
