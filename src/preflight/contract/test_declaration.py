"""`.env.example`, the one declaration of a Space's environment, against its code and README."""

from __future__ import annotations

import pytest

from preflight.contract.findings import not_promised, require_none
from preflight.model.environment import EnvironmentDeclaration, EnvironmentDeclarationError
from preflight.model.hub_profile import DOCUMENTED_PORTS
from preflight.model.problems import Problem, Severity
from preflight.model.space import Space
from preflight.rules import drift
from preflight.rules import outbound as egress
from preflight.rules.dockerfile import Dockerfile, DockerfileError, names_set
from preflight.rules.reads import HUB_SETS


@pytest.fixture
def declaration(space: Space) -> EnvironmentDeclaration:
    """The declared environment, for the checks that compare it."""
    try:
        declared = space.declaration
    except EnvironmentDeclarationError:
        pytest.skip("the declaration cannot be read: see declaration.can_be_read")
    if declared is None:
        not_promised("there is no `.env.example`")
    if not declared.decorated:
        not_promised("`.env.example` lists names without saying what is required or secret")
    return declared


def test_can_be_read(space: Space) -> None:
    """`.env.example` is dotenv with known decorators, and declares nothing that contradicts itself.

    Severity: breaks

    On the Hub: a Variable is forgotten, because the list of what to enter is wrong; here nothing is built or started from it

    Fix: Correct the line that is named.

    Source: ours: what is wrong is the list of what has to be entered.
    """
    try:
        if space.declaration is None:
            not_promised("there is no `.env.example`")
    except EnvironmentDeclarationError as error:
        require_none(
            Problem("a declaration without faults", one.message, file=error.source, line=one.line)
            for one in error.faults
            # The Hub has a message of its own for these: push.names_do_not_collide.
            if not one.duplicate
        )


def test_secrets_have_no_value(declaration: EnvironmentDeclaration) -> None:
    """No Secret has a value in `.env.example`, which is committed.

    Severity: risk

    On the Hub: everybody can read the value among the Space's files

    Fix: Leave it empty; a value for this machine alone is marked `@sample=` and refused on the Hub.

    Source: hub-docs spaces-overview.md: Secrets are entered in the settings.
    """
    require_none(
        Problem(
            f"no value for the Secret {variable.name}",
            f"{variable.name} has one",
            file=declaration.source,
            line=variable.line,
        )
        for variable in declaration.secrets
        if variable.default
    )


def test_every_variable_is_described(declaration: EnvironmentDeclaration) -> None:
    """Every variable has a comment that says what it is.

    Severity: advice

    On the Hub: an owner who duplicates the Space does not know what to enter in its settings

    Fix: Write a comment line above the variable.

    Source: ours: nothing on the Hub depends on it.
    """
    require_none(
        Problem(
            f"a comment above {variable.name}",
            f"{variable.name} has none",
            file=declaration.source,
            line=variable.line,
        )
        for variable in declaration.variables
        if not variable.description
    )


def test_code_reads_what_is_declared(space: Space, declaration: EnvironmentDeclaration) -> None:
    """The code reads no variable that `.env.example` does not declare.

    Severity: risk

    On the Hub: "Runtime error" or a silent default, because its owner did not know of it

    Fix: Declare it in `.env.example`, or set it with ENV in the Dockerfile when it is no setting.

    Source: ours: what is not declared is not entered.
    """
    try:
        image_sets = names_set(Dockerfile.of_folder(space.folder))
    except (FileNotFoundError, DockerfileError):
        image_sets = set()
    require_none(drift.undeclared_problems(space.folder, declaration, image_sets))


def test_what_is_declared_is_read(space: Space, declaration: EnvironmentDeclaration) -> None:
    """Every declared variable is named somewhere in the code.

    Severity: risk

    On the Hub: a Variable is entered, changed, and changes nothing

    Fix: Delete it from `.env.example`, or correct its name.

    Source: ours: what no code reads has no effect.
    """
    require_none(drift.unread_problems(space.folder, declaration))


def test_readme_names_what_is_required(space: Space, declaration: EnvironmentDeclaration) -> None:
    """README.md names every required Variable and Secret.

    Severity: advice

    On the Hub: "Runtime error" right after the first push, since Secrets were not entered before

    Fix: Put the table into README.md: preflight settings DIR prints it.

    Source: ours: nothing on the Hub depends on it.
    """
    readme = space.readme_bytes.decode("utf-8", "replace")
    require_none(drift.undocumented_problems(readme, declaration))


def test_hub_variables_are_not_entered(declaration: EnvironmentDeclaration) -> None:
    """No variable that the Hub sets itself is required.

    Severity: risk

    On the Hub: Configuration error: Collision on variables and secrets names

    Fix: Make it optional, or delete it; the Hub sets it in every Space.

    Source: hub-docs spaces-overview.md lists the names; the text is reported by users.
    """
    require_none(
        Problem(
            "no variable that the Hub sets",
            f"{variable.name}, {'optional' if variable.required is False else 'required'}",
            "Leave it out of the Space's settings." if variable.required is False else None,
            severity=Severity.ADVICE if variable.required is False else None,
            file=declaration.source,
            line=variable.line,
        )
        for variable in declaration.variables
        if variable.name in HUB_SETS
    )


def test_services_are_on_open_ports(space: Space) -> None:
    """No declared variable leads to a service on another port than 80, 443 and 8080: databases, mail and queues mostly do.

    Severity: risk

    On the Hub: a time-out, or [Errno 101] Network is unreachable, at the first query: mail servers were reported out of reach; PostgreSQL on 5432 was reached

    Fix: Enter the address of the service's HTTPS or WebSocket endpoint, or of a proxy on port 443.

    Source: hub-docs spaces-overview.md: other ports than 80, 443 and 8080 are blocked; observed:
    5432 is open.
    """
    try:
        declared = space.declaration
    except EnvironmentDeclarationError:
        pytest.skip("the declaration cannot be read: see declaration.can_be_read")
    if declared is None:
        not_promised("there is no `.env.example`")
    require_none(
        Problem(
            f"ports {', '.join(map(str, DOCUMENTED_PORTS))}",
            f"{one}",
            # The Space may have a way around, as to Neon over WebSockets; its start shows what it dials.
            severity=one.known.severity if one.entered else Severity.ADVICE,
        )
        for one in egress.doubtful(space, declared)
    )
