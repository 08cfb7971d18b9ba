"""The Dockerfile, judged without building it: how the app starts, who owns what, what it is based on."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from preflight.contract.findings import not_promised, require_none, warn
from preflight.model.environment import EnvironmentDeclaration, EnvironmentDeclarationError
from preflight.model.problems import Problem
from preflight.model.space import Space
from preflight.rules import dockerfile as rules
from preflight.rules.dockerfile import Dockerfile, DockerfileError


@pytest.fixture
def dockerfile(space: Space) -> Dockerfile:
    """The Dockerfile, for the checks of its steps."""
    try:
        return Dockerfile.of_folder(space.folder)
    except FileNotFoundError:
        pytest.skip("there is no Dockerfile: see push.dockerfile_is_at_the_root")
    except DockerfileError:
        pytest.skip("the Dockerfile cannot be read: see dockerfile.can_be_read")


@pytest.fixture
def declaration(space: Space) -> EnvironmentDeclaration:
    """The declared environment, for the checks that compare the Dockerfile with it."""
    try:
        declared = space.declaration
    except EnvironmentDeclarationError:
        pytest.skip("the declaration cannot be read: see declaration.can_be_read")
    if declared is None or not declared.decorated:
        not_promised("no `.env.example` declares Variables and Secrets")
    return declared


def judge(space: Space, problems: Iterable[Problem]) -> None:
    """A violation where the Space follows the conventions; else a warning, as the Hub runs it."""
    if space.follows_conventions:
        require_none(problems)
    for problem in problems:
        warn(f"expected {problem.expected}; found {problem.actual}")


def test_can_be_read(space: Space) -> None:
    """The Dockerfile has a FROM, known instructions, and an argument for each.

    On the Hub: Build error: dockerfile parse error: unknown instruction; Job failed with exit code: 1

    Fix: Correct the line that is named.
    """
    try:
        Dockerfile.of_folder(space.folder)
    except FileNotFoundError:
        pytest.skip("there is no Dockerfile: see push.dockerfile_is_at_the_root")
    except DockerfileError as error:
        require_none([error.problem])


def test_app_gets_the_stop_signal(space: Space, dockerfile: Dockerfile) -> None:
    """CMD and ENTRYPOINT are in exec form, so that SIGTERM reaches the app and not a shell.

    On the Hub: each restart and each new version cuts requests off; nothing is saved at the end

    Fix: Write the command as a JSON list: CMD ["python", "-m", "app"].
    """
    judge(space, rules.shell_form_problems(dockerfile))


def test_runs_no_development_server(space: Space, dockerfile: Dockerfile) -> None:
    """The image starts the app itself, for production: no reloader, no package manager as PID 1.

    On the Hub: slow answers, twice the memory, a debugger open to everybody, or a Space that ends
    without its requests

    Fix: Start the server directly: `uvicorn`, `gunicorn`, `node server.js`.
    """
    judge(space, rules.development_server_problems(dockerfile))


def test_base_image_has_a_version(space: Space, dockerfile: Dockerfile) -> None:
    """Every base image has a version tag or a digest.

    On the Hub: a Space that has run for months fails after a rebuild in which nothing was changed

    Fix: Name a version: `FROM python:3.11-slim-bookworm`.
    """
    judge(space, rules.base_tag_problems(dockerfile))


def test_owners_are_set_where_files_arrive(space: Space, dockerfile: Dockerfile) -> None:
    """No step of its own changes owners or modes recursively.

    On the Hub: the image is twice its size; "exporting cache" ends with exit code 137

    Fix: COPY --chown=1000:1000, and make folders with their owner in one RUN.
    """
    judge(space, rules.recursive_chown_problems(dockerfile))


def test_uid_1000_is_free(dockerfile: Dockerfile) -> None:
    """No user is added with uid 1000 where the base image has one.

    On the Hub: Build error: useradd: UID 1000 is not unique

    Fix: Use the user that is there: `node` in node images, `ubuntu` in Ubuntu 24.04.
    """
    require_none(rules.uid_taken_problems(dockerfile))


def test_no_secret_is_an_argument(
    dockerfile: Dockerfile, declaration: EnvironmentDeclaration
) -> None:
    """No ARG or ENV has the name of a declared Secret.

    On the Hub: the value is empty at build, since a Secret is never a build argument; or it stands
    in the image for everybody to read

    Fix: RUN --mount=type=secret,id=NAME,mode=0444 at build; at run time it is in the environment.
    """
    require_none(rules.secret_name_problems(dockerfile, declaration))


def test_no_required_variable_has_a_default(
    dockerfile: Dockerfile, declaration: EnvironmentDeclaration
) -> None:
    """The image sets no value for a required Variable.

    On the Hub: the Space runs with a sample value after a Variable was lost, and nobody is told

    Fix: Delete the ENV line; defaults for a developer's machine belong in compose.yaml.
    """
    require_none(rules.defaulted_problems(dockerfile, declaration))


def test_health_command_is_in_the_image(space: Space, dockerfile: Dockerfile) -> None:
    """HEALTHCHECK uses no curl or wget where the base image has none.

    On the Hub: nothing, it ignores HEALTHCHECK; elsewhere the container is "unhealthy" for ever

    Fix: Ask with the image's own runtime: CMD ["python", "-c", "…urlopen…"] or ["node", "-e", "…"].
    """
    if dockerfile.final.last("HEALTHCHECK") is None:
        not_promised("the Dockerfile has no HEALTHCHECK")
    judge(space, rules.health_command_problems(dockerfile))


def test_ports_agree(space: Space, dockerfile: Dockerfile) -> None:
    """EXPOSE and HEALTHCHECK name the README's `app_port`.

    On the Hub: Launch timed out, workload was not healthy after 30 min; the log says it is running

    Fix: Use one port in README.md, EXPOSE, HEALTHCHECK and the app: 7860.
    """
    judge(space, rules.port_problems(dockerfile, space.app_port))


def test_hadolint_finds_no_error(space: Space, dockerfile: Dockerfile) -> None:
    """Hadolint reports no error; its warnings are passed on.

    On the Hub: Build error: Job failed with exit code: 1; or a step that does something else than
    it says

    Fix: Change the line as hadolint's page on the rule shows.
    """
    problems, warnings = rules.hadolint(space.folder)
    judge(space, problems)
    for warning in warnings:
        warn(warning)
