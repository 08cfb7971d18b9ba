"""The build: each step gets its inputs, and none of them is specific to this machine."""

from __future__ import annotations

import datetime

from preflight.contract.findings import require_none
from preflight.model.environment import EnvironmentDeclarationError
from preflight.model.git import Repository
from preflight.model.space import Space
from preflight.rules import build_inputs as rules
from preflight.rules import packages
from preflight.rules.dockerfile import Dockerfile


def test_variables_reach_their_step(space: Space, dockerfile: Dockerfile) -> None:
    """Each Variable that a build step reads has an ARG in the same stage, between FROM and the step.

    Severity: risk

    On the Hub: the Variable is entered, but the built page lacks its value: VITE_… and
    NEXT_PUBLIC_… are undefined in the browser

    Fix: Write ARG NAME below FROM. Rebuild the Space after a change of the Variable.

    Source: hub-docs spaces-sdks-docker.md, Buildtime; Dockerfile reference, ARG scope;
    vite.dev/guide/env-and-mode.
    """
    try:
        declaration = space.declaration
    except EnvironmentDeclarationError:
        declaration = None
    require_none(rules.argument_problems(dockerfile, space.folder, declaration))


def test_takes_no_installed_folder(
    space: Space, dockerfile: Dockerfile, committed: Repository | None
) -> None:
    """No COPY overwrites the result of a build step with this machine's node_modules, .venv or dist.

    Severity: risk

    On the Hub: "invalid ELF header", a wrong module version, or an outdated page

    Fix: Add the folder to .dockerignore and .gitignore.

    Source: docs.docker.com/build/concepts/context, dockerignore files.
    """
    tracked = set(committed.tracked) if committed else None
    require_none(rules.copied_over_problems(dockerfile, space.folder, tracked))


def test_base_is_maintained(dockerfile: Dockerfile) -> None:
    """The operating system and language of the base image are maintained.

    Severity: advice

    On the Hub: the next rebuild fails with "404 Not Found" in apt-get update, or a published vulnerability stays open

    Fix: Use a maintained base image.

    Source: endoflife.date; the dates, and the day on which they were read, are in rules/end_of_life.toml.
    """
    require_none(rules.ended_problems(dockerfile, datetime.date.today()))


def test_packages_are_in_the_release(dockerfile: Dockerfile) -> None:
    """Each package that apt installs is in the Debian release of the base image.

    Severity: breaks

    On the Hub: "Build error": "E: Unable to locate package" or "has no installation candidate"

    Fix: Install the package's successor, or choose a base image of an older release.

    Source: packages.debian.org; the packages are in rules/removed_packages.toml.
    """
    require_none(packages.removed_problems(dockerfile))


def test_requirements_have_versions(space: Space, dockerfile: Dockerfile) -> None:
    """Each requirement that the image installs has a version, in requirements.txt or a lock file.

    Severity: advice

    On the Hub: a rebuild months later installs other releases and fails

    Fix: Write NAME==VERSION for each requirement, or lock them with `uv pip compile`.

    Source: pip.pypa.io, Repeatable Installs.
    """
    require_none(rules.unpinned_problems(dockerfile, space.folder))
