"""The Dockerfile: its instructions, base image, file owners and start command, checked without a build."""

from __future__ import annotations

import pytest

from preflight.contract.findings import UNDECLARED, not_promised, require_none
from preflight.model.environment import EnvironmentDeclaration, EnvironmentDeclarationError
from preflight.model.space import Space
from preflight.rules import dockerfile_steps as rules
from preflight.rules import hadolint
from preflight.rules.dockerfile import Dockerfile, DockerfileError


@pytest.fixture
def declaration(space: Space) -> EnvironmentDeclaration:
    """The declared environment, for checks that compare the Dockerfile with it."""
    try:
        declared = space.declaration
    except EnvironmentDeclarationError:
        pytest.skip("the declaration cannot be read: see declaration.can_be_read")
    if declared is None or not declared.decorated:
        not_promised(UNDECLARED)
    return declared


def test_can_be_read(space: Space) -> None:
    """The Dockerfile has a FROM and known instructions, each with an argument.

    Severity: breaks

    On the Hub: Build error: dockerfile parse error: unknown instruction; Job failed with exit code: 1

    Fix: Correct the line that is named.

    Source: BuildKit's own parser.
    """
    try:
        Dockerfile.of_folder(space.folder)
    except FileNotFoundError:
        pytest.skip("there is no Dockerfile: see push.dockerfile_is_at_the_root")
    except DockerfileError as error:
        require_none([error.problem])


def test_app_gets_the_stop_signal(space: Space, dockerfile: Dockerfile) -> None:
    """CMD and ENTRYPOINT use the exec form, so that SIGTERM reaches the app instead of a shell.

    Severity: advice

    On the Hub: each restart and each update cuts requests off, and the app cannot save its data

    Fix: Write the command as a JSON list: CMD ["python", "-m", "app"].

    Source: Dockerfile reference, "shell form"; shutdown.ends_on_sigterm measures the effect of
    SIGTERM.
    """
    require_none(rules.shell_form_problems(dockerfile))


def test_runs_no_development_server(space: Space, dockerfile: Dockerfile) -> None:
    """The image starts a production server, without a reloader or debugger.

    Severity: risk

    On the Hub: slow answers, twice the memory, a debugger that everyone can use, or a Space that ends
    by itself

    Fix: Start the server directly: `uvicorn`, `gunicorn`, `node server.js`.

    Source: the manuals of Flask, Django, uvicorn and Vite; observed: eight Spaces run `npm start`
    without problems.
    """
    require_none(rules.development_server_problems(dockerfile))


def test_base_image_has_a_version(space: Space, dockerfile: Dockerfile) -> None:
    """Every base image has a version tag or a digest.

    Severity: advice

    On the Hub: a Space that ran for months fails after a rebuild without changes

    Fix: Name a version: `FROM python:3.11-slim-bookworm`.

    Source: tags move in the registry, and the Hub builds from what the tag means at that time.
    """
    require_none(rules.base_tag_problems(dockerfile))


def test_owners_are_set_where_files_arrive(space: Space, dockerfile: Dockerfile) -> None:
    """The step that creates files sets their owner; no later step changes owners or modes recursively.

    Severity: advice

    On the Hub: the image is twice its size; "exporting cache" ends with exit code 137

    Fix: Use COPY --chown=1000:1000. Create a folder and set its owner in the same RUN.

    Source: observed: five Spaces with `chown -R` run without problems.
    """
    require_none(rules.recursive_chown_problems(dockerfile))


def test_uid_1000_is_free(dockerfile: Dockerfile) -> None:
    """The Dockerfile does not add a user with uid 1000 if the base image already has one.

    Severity: breaks

    On the Hub: Build error: useradd: UID 1000 is not unique

    Fix: Use the existing user: `node` in node images, `ubuntu` in Ubuntu 24.04.

    Source: useradd's message, reported by users.
    """
    require_none(rules.uid_taken_problems(dockerfile))


def test_no_secret_is_an_argument(
    dockerfile: Dockerfile, declaration: EnvironmentDeclaration
) -> None:
    """No ARG or ENV has the name of a declared Secret.

    Severity: risk

    On the Hub: the value is empty during the build, since a Secret is never a build argument; or everyone
    can read it in the image

    Fix: Use RUN --mount=type=secret,id=NAME,mode=0444 in the build. At run time, read the environment.

    Source: hub-docs spaces-sdks-docker.md, "Secrets".
    """
    require_none(rules.secret_name_problems(dockerfile, declaration))


def test_no_required_variable_has_a_default(
    dockerfile: Dockerfile, declaration: EnvironmentDeclaration
) -> None:
    """The image sets no value for a required Variable.

    Severity: risk

    On the Hub: if the Variable is missing, the Space runs with a sample value and no message says so

    Fix: Delete the ENV line. Put defaults for a developer's machine into compose.yaml.

    Source: ours: ENV in the image hides that a Variable is absent.
    """
    require_none(rules.defaulted_problems(dockerfile, declaration))


def test_health_command_is_in_the_image(space: Space, dockerfile: Dockerfile) -> None:
    """HEALTHCHECK uses curl or wget only if the image has it.

    Severity: advice

    On the Hub: nothing, since the Hub ignores HEALTHCHECK; elsewhere the container stays "unhealthy"

    Fix: Send the request with the image's own runtime: CMD ["python", "-c", "…urlopen…"] or ["node", "-e", "…"].

    Source: the Hub's documentation does not mention HEALTHCHECK; observed: Spaces run with a
    HEALTHCHECK that cannot fail.
    """
    if dockerfile.final.last("HEALTHCHECK") is None:
        not_promised("the Dockerfile has no HEALTHCHECK")
    require_none(rules.health_command_problems(dockerfile))


def test_ports_agree(space: Space, dockerfile: Dockerfile) -> None:
    """EXPOSE and HEALTHCHECK name the README's `app_port`.

    Severity: advice

    On the Hub: Launch timed out, workload was not healthy after 30 min; the log says it is running

    Fix: Use one port in README.md, EXPOSE, HEALTHCHECK and the app: 7860.

    Source: hub-docs spaces-sdks-docker.md names only `app_port`; start.serves measures the port.
    """
    require_none(rules.port_problems(dockerfile, space.app_port))


def test_hadolint_finds_no_error(space: Space, dockerfile: Dockerfile) -> None:
    """Hadolint reports no error; its warnings are advice.

    Severity: risk; advice without conventions

    On the Hub: Build error: Job failed with exit code: 1; or a step that does not do what it seems to
    do

    Fix: Change the line as hadolint's page for the rule describes.

    Source: hadolint's wiki.
    """
    program = hadolint.installed()
    if program is None:
        pytest.skip("hadolint is not installed: pip install 'preflight-for-spaces[lint]'")
    require_none(hadolint.problems(program, space.folder))
