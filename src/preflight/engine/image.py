"""A Space's image, built as the Hub builds it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from preflight.engine.base_images import (
    NoStandIn,
    named_in,
    stood_in_for,
    syntax_in,
    without_syntax,
)
from preflight.engine.base_images import ensure as ensure_base_images
from preflight.engine.build_log import BuildFailure, digest, progress_of
from preflight.engine.causes import indented, last_lines
from preflight.engine.docker import DockerError, DockerTimeout, docker
from preflight.engine.install import Failure, building
from preflight.engine.progress import shown
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
        """The output of `docker image inspect`."""
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

    def make() -> dict[str, Any] | None:
        try:
            build(run, space.name, space.folder, variables=_public(space), secrets=_secret(space))
        except BuildError as error:
            return {"said": str(error), "fix": error.fix, "unjudged": error.unjudged}
        return None

    failure = run.once(f"image-{space.name}", make)
    image = _image(run, space.name)
    if failure:
        raise BuildError(failure["said"], image.build_log, failure["fix"], failure["unjudged"])
    return image


def build_without_secrets(run: Run, space: Space, lines: Collection[int]) -> None:
    """Build a Space again with its Variables alone: the steps at these lines of its Dockerfile, and what follows them.

    Raises BuildError.
    """
    build(run, f"{space.name}-without-secrets", space.folder, variables=_public(space), again=lines)


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


def _public(space: Space) -> dict[str, str]:
    return {n: value for n, value in space.environment.items() if not space.is_secret(n)}


def _secret(space: Space) -> dict[str, str]:
    return {n: value for n, value in space.environment.items() if space.is_secret(n)}


class BuildError(DockerError):
    """The build failed; the message has the step, the likely cause and the path of the log.

    unjudged: why the Hub's build may still succeed; empty when the folder is at fault.
    """

    def __init__(self, message: str, log: Path, fix: str, unjudged: str = "") -> None:
        super().__init__(message)
        self.log = log
        self.fix = fix
        self.unjudged = unjudged


def build(
    run: Run,
    name: str,
    folder: Path,
    variables: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
    target: str | None = None,
    fresh: bool = False,
    kept: str | None = None,
    again: Collection[int] = (),
) -> Image:
    """Build `folder` by its root Dockerfile, for linux/amd64.

    variables: passed as build args. secrets: passed as build secrets, and in no other way.
    target: only that stage, which leaves no image.
    fresh: without the layer cache, as a "factory rebuild".
    kept: a tag under which it outlives the run.
    again: lines of steps that run although the layer cache has them; leaves no image.
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
        if again or (stood_in_for and BUILT_IN.fullmatch(_syntax(folder))):
            arguments.append(f"--file={_copied(folder, Path(scratch), again)}")
        if target:
            arguments.append(f"--target={target}")
        if target or again:
            arguments.append("--output=type=cacheonly")
        else:
            arguments += ["--load", f"--tag={image.tag}"]
        if fresh:
            arguments.append("--no-cache")
        try:
            with building(no_cache=fresh), shown(lambda: f"{name}: {progress_of(_text_of(log))}"):
                docker(
                    "buildx", "build", "--progress=plain", f"--platform={HUB.platform}",
                    *([] if kept else run.labels), *arguments, str(folder),
                    deadline=HUB.build_deadline, log=log,
                )  # fmt: skip
        except DockerTimeout as error:
            last = indented(last_lines(_text_of(log), 5))
            fix = "find out what the last step waits for; --hub build_deadline=SECONDS allows more time"
            raise BuildError(f"{error}. The last lines:\n{last}", log, fix) from None
        except DockerError as error:
            failure = digest(_text_of(log) or str(error))
            unjudged = _unjudged(folder, failure)
            message = f"the build failed\n{failure}\nfull log: {log}"
            raise BuildError(message, log, failure.fix, unjudged) from None
    return image


# BuildKit reads what a stable version of this image reads. Source: docs.docker.com/build/buildkit/frontend.
BUILT_IN = re.compile(r"(docker\.io/)?docker/dockerfile(:1(\.\d+)*|:latest)?")


def _syntax(folder: Path) -> str:
    path = folder / "Dockerfile"
    return (syntax_in(path.read_text(errors="replace")) if path.is_file() else None) or ""


def _copied(folder: Path, scratch: Path, again: Collection[int]) -> Path:
    """A copy of the Dockerfile, whose steps at these lines are not in the layer cache."""
    text = (folder / "Dockerfile").read_text(errors="replace")
    if stood_in_for and BUILT_IN.fullmatch(_syntax(folder)):
        # No registry gives the image of the line `# syntax=` here.
        text = without_syntax(text)
    lines = text.splitlines(keepends=True)
    for line in sorted(again, reverse=True):
        # The cache's key of a RUN holds the build arguments of its stage.
        # Source: docs.docker.com/reference/dockerfile, Impact on build caching.
        lines.insert(line - 1, f"ARG PREFLIGHT_AGAIN={time.time_ns()}\n")
    copy = scratch / "Dockerfile"
    copy.write_text("".join(lines))
    # BuildKit looks for this file beside the Dockerfile that it reads.
    if (ignored := folder / "Dockerfile.dockerignore").is_file():
        shutil.copy(ignored, scratch)
    return copy


def _text_of(log: Path) -> str:
    return log.read_text(errors="replace") if log.exists() else ""


def _unjudged(folder: Path, failure: BuildFailure) -> str:
    """Why a failed build does not judge the folder: this machine lacked something."""
    unreachable = [image for image in base_images(folder) if image in _unreachable]
    if unreachable:
        return f"no registry gives the base image {', '.join(unreachable)} here, and nothing stands in for it"
    syntax = _syntax(folder)
    if stood_in_for and syntax and not BUILT_IN.fullmatch(syntax):
        return f"no registry gives the image {syntax} here, which reads the Dockerfile (# syntax=)"
    if failure.no_network and stood_in_for:
        return f"this machine reaches no image registry, and the build's step needs a network: {failure.step}"
    return ""


def _image(run: Run, name: str) -> Image:
    # An image name holds lower-case letters, digits and single separators only.
    repository = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "space"
    return Image(f"preflight/{repository}:{run.id}", run.folder / f"build-{name}.log")


def base_images(folder: Path) -> list[str]:
    """The images that a folder's Dockerfile takes from a registry."""
    path = folder / "Dockerfile"
    return named_in(path.read_text(errors="replace")) if path.is_file() else []


_known: dict[str, str | None] = {}
_unreachable: set[str] = set()


def stand_in(image: str) -> str | None:
    """The stand-in's name, or None when the official image is here or can be pulled."""
    if image not in _known:
        try:
            # A run lists its stand-ins once, at its end; here only a slow step prints a line.
            with shown(lambda: f"getting the base image {image}"):
                found = ensure_base_images([image], say=lambda _: None)
            _known[image] = found.get(image)
            stood_in_for.update(found)
        except NoStandIn:
            # The build then fails with the engine's message.
            _known[image] = None
            _unreachable.add(image)
        except Failure as failure:
            raise DockerError(failure.message) from None
    return _known[image]
