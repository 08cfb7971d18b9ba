"""A Space's image, built as the Hub builds it."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from preflight.engine.base_images import RECIPES, named_in
from preflight.engine.base_images import ensure as ensure_base_images
from preflight.engine.build_log import digest
from preflight.engine.docker import DockerError, docker
from preflight.engine.install import Failure, building
from preflight.engine.run import Run
from preflight.model.context import context_files
from preflight.model.hub_profile import HUB
from preflight.model.space import Space


@dataclass(frozen=True)
class Image:
    """An image in the engine."""

    tag: str
    build_log: Path

    @cached_property
    def inspection(self) -> dict[str, Any]:
        """What `docker image inspect` says."""
        found: list[dict[str, Any]] = json.loads(docker("image", "inspect", self.tag).stdout)
        return found[0]

    @property
    def config(self) -> dict[str, Any]:
        """The image's configuration: User, Env, Cmd, Healthcheck …"""
        config: dict[str, Any] = self.inspection["Config"]
        return config

    @property
    def size(self) -> int:
        """Bytes of all layers."""
        return int(self.inspection["Size"])


def build_space(run: Run, space: Space) -> Image:
    """A Space's image, built by the first caller of the run.

    Its declared Variables are build args, its declared Secrets build secrets. Raises BuildError.
    """

    def make() -> str | None:
        declaration = space.declaration
        environment = declaration.valid_environment() if declaration else {}
        secret = {v.name for v in declaration.secrets} if declaration else set()
        try:
            build(
                run,
                space.name,
                space.folder,
                variables={n: value for n, value in environment.items() if n not in secret},
                secrets={n: value for n, value in environment.items() if n in secret},
            )
        except BuildError as error:
            return str(error)
        return None

    failure = run.once(f"image-{space.name}", make)
    if failure:
        raise BuildError(failure, _image(run, space.name).build_log)
    return _image(run, space.name)


def build_own(run: Run, name: str, folder: Path) -> Image:
    """An image of the harness itself: built when its files have changed, kept for later runs.

    Raises BuildError.
    """
    content = hashlib.sha256()
    for path in sorted(folder / file for file in context_files(folder)):
        content.update(f"{path.relative_to(folder)}\0{path.stat().st_mode:o}\0".encode())
        content.update(hashlib.sha256(path.read_bytes()).digest())

    def make() -> str:
        for official in base_images(folder):
            content.update((stand_in(official) or official).encode())
        kept = f"preflight/{name}:{content.hexdigest()[:12]}"
        if docker("image", "inspect", kept, check=False).returncode != 0:
            build(run, name, folder, kept=kept)
        return kept

    return Image(run.once(f"own-image-{name}", make), run.folder / f"build-{name}.log")


class BuildError(DockerError):
    """The build failed; the message says which step, the likely cause, the fix and where the log is."""

    def __init__(self, message: str, log: Path) -> None:
        super().__init__(message)
        self.log = log


def build(
    run: Run,
    name: str,
    folder: Path,
    variables: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
    target: str | None = None,
    fresh: bool = False,
    kept: str | None = None,
) -> Image:
    """Build `folder` by its root Dockerfile, for linux/amd64.

    variables: passed as build args. secrets: passed as build secrets, and in no other way.
    target: only that stage, which leaves no image.
    fresh: without the layer cache, as a "factory rebuild".
    kept: a tag under which it outlives the run.
    Source: hub-docs spaces-sdks-docker.md. Raises BuildError.
    """
    image = _image(run, f"{name}-{target}" if target else name)
    if kept:
        image = replace(image, tag=kept)
    log = image.build_log
    log.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="preflight-secrets-") as scratch:
        arguments = [f"--build-arg={key}={value}" for key, value in (variables or {}).items()]
        for number, (key, value) in enumerate((secrets or {}).items()):
            path = Path(scratch) / str(number)
            path.write_text(value)
            arguments.append(f"--secret=id={key},src={path}")
        for official in base_images(folder):
            if replacement := stand_in(official):
                arguments.append(f"--build-context={official}=docker-image://{replacement}")
        if target:
            arguments += [f"--target={target}", "--output=type=cacheonly"]
        else:
            arguments += ["--load", f"--tag={image.tag}"]
        if fresh:
            arguments.append("--no-cache")
        try:
            with building(no_cache=fresh):
                docker(
                    "buildx", "build", "--progress=plain", f"--platform={HUB.platform}",
                    *([] if kept else run.labels), *arguments, str(folder),
                    deadline=HUB.build_deadline, log=log,
                )  # fmt: skip
        except DockerError as error:
            said = log.read_text(errors="replace") if log.exists() else str(error)
            if "did not end within" in str(error):
                last = "\n".join(said.splitlines()[-5:])
                raise BuildError(f"{error}. The last lines:\n{last}", log) from None
            raise BuildError(f"the build failed\n{digest(said)}\nfull log: {log}", log) from None
    return image


def _image(run: Run, name: str) -> Image:
    # An image name holds lower-case letters, digits and single separators only.
    repository = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "space"
    return Image(f"preflight/{repository}:{run.id}", run.folder / f"build-{name}.log")


def base_images(folder: Path) -> list[str]:
    """The images that a folder's Dockerfile takes from a registry."""
    path = folder / "Dockerfile"
    return named_in(path.read_text(errors="replace")) if path.is_file() else []


def stand_ins_in_use() -> list[str]:
    """The official images that this process has built with stand-ins for."""
    return sorted(image for image, name in _known.items() if name)


_known: dict[str, str | None] = {}


def stand_in(image: str) -> str | None:
    """The stand-in's name, or None when the official image is here or can be pulled."""
    if image not in _known:
        try:
            _known[image] = ensure_base_images([image]).get(image)
        except Failure as failure:
            if image in RECIPES:
                raise DockerError(failure.message) from None
            # The build itself then says why, in the words that the user will meet elsewhere too.
            _known[image] = None
    return _known[image]
