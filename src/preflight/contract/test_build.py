"""The build: each step gets what it reads, and takes nothing from this machine."""

from __future__ import annotations

import datetime

import pytest

from preflight.contract.findings import require_none
from preflight.contract.test_push import repository_of
from preflight.model.environment import EnvironmentDeclarationError
from preflight.model.space import Space
from preflight.rules import build_inputs as rules
from preflight.rules.dockerfile import Dockerfile, DockerfileError


@pytest.fixture
def dockerfile(space: Space) -> Dockerfile:
    """The Space's Dockerfile."""
    try:
        return Dockerfile.of_folder(space.folder)
    except (FileNotFoundError, DockerfileError):
        pytest.skip("needs a Dockerfile that can be read")


def test_variables_reach_their_step(space: Space, dockerfile: Dockerfile) -> None:
    """A Variable that a build step reads has an ARG in the same stage, below FROM and before the step.

    Severity: risk

    On the Hub: the Variable is entered and the built page has nothing in its place: VITE_… and
    NEXT_PUBLIC_… are undefined in the browser

    Fix: ARG NAME below FROM; after a change of the Variable the Space has to be rebuilt.

    Source: hub-docs spaces-sdks-docker.md, Buildtime; Dockerfile reference, ARG scope;
    vite.dev/guide/env-and-mode.
    """
    try:
        declaration = space.declaration
    except EnvironmentDeclarationError:
        declaration = None
    require_none(rules.argument_problems(dockerfile, space.folder, declaration))


def test_takes_no_installed_folder(space: Space, dockerfile: Dockerfile) -> None:
    """No COPY puts this machine's node_modules, .venv or dist over what a step has installed or built.

    Severity: risk

    On the Hub: "invalid ELF header", a module of another version, or an old page

    Fix: Write the folder into .dockerignore and .gitignore.

    Source: docs.docker.com/build/concepts/context, dockerignore files.
    """
    repository = repository_of(space)
    tracked = set(repository.tracked) if repository else None
    require_none(rules.copied_over_problems(dockerfile, space.folder, tracked))


def test_base_is_maintained(dockerfile: Dockerfile) -> None:
    """The base image's system and language are maintained.

    Severity: advice

    On the Hub: the next rebuild fails, "404 Not Found" in apt-get update; or no fix for a published hole

    Fix: Name a maintained base image.

    Source: endoflife.date; the dates are in rules/end_of_life.toml, with the day on which they were read.
    """
    require_none(rules.ended_problems(dockerfile, datetime.date.today()))


def test_requirements_have_versions(space: Space, dockerfile: Dockerfile) -> None:
    """Each requirement that the image installs has a version, in requirements.txt or a lock file.

    Severity: advice

    On the Hub: a rebuild months later installs other releases, and fails

    Fix: Write NAME==VERSION for each, or lock with `uv pip compile`.

    Source: pip.pypa.io, Repeatable Installs.
    """
    require_none(rules.unpinned_problems(dockerfile, space.folder))
