"""The declaration: `.env.example` declares the Space's environment and agrees with its code and README."""

from __future__ import annotations

import pytest

from preflight.contract.findings import UNDECLARED, not_promised, require_none
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
    """The declared environment, for checks that compare it."""
    try:
        declared = space.declaration
    except EnvironmentDeclarationError:
        pytest.skip("the declaration cannot be read: see declaration.can_be_read")
    if declared is None:
        not_promised(UNDECLARED)
    if not declared.decorated:
        not_promised("`.env.example` lists names without saying what is required or secret")
    return declared


def test_can_be_read(space: Space) -> None:
    """`.env.example` is a dotenv file with known decorators and no contradictions.

    Severity: breaks

    On the Hub: a Variable is missing from the settings, because the list of what to enter is wrong; Preflight neither builds nor starts the Space

    Fix: Correct the line that is named.

    Source: ours: the owner enters what this file lists.
    """
    try:
        if space.declaration is None:
            not_promised(UNDECLARED)
    except EnvironmentDeclarationError as error:
        require_none(
            Problem(
                "a declaration without faults", fault.message, file=error.source, line=fault.line
            )
            for fault in error.faults
            # The Hub has a message of its own for these: push.names_do_not_collide.
            if not fault.duplicate
        )


def test_secrets_have_no_value(declaration: EnvironmentDeclaration) -> None:
    """No Secret has a value in `.env.example`, which is committed.

    Severity: risk

    On the Hub: everyone can read the value in the Space's files

    Fix: Leave it empty. Mark a value for this machine alone with `@sample=`; the Space refuses it on the Hub.

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
    """Every variable has a comment that describes it.

    Severity: advice

    On the Hub: a user who duplicates the Space does not know what to enter in its settings

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
    """`.env.example` declares every variable that the code reads.

    Severity: risk

    On the Hub: "Runtime error" or a silent default, because the owner did not know about the variable

    Fix: Declare it in `.env.example`. If it is not a setting, set it with ENV in the Dockerfile.

    Source: ours: an owner does not enter what is not declared.
    """
    try:
        image_sets = names_set(Dockerfile.of_folder(space.folder))
    except (FileNotFoundError, DockerfileError):
        image_sets = set()
    require_none(drift.undeclared_problems(space.folder, declaration, image_sets))


def test_what_is_declared_is_read(space: Space, declaration: EnvironmentDeclaration) -> None:
    """The code names every declared variable.

    Severity: risk

    On the Hub: the owner enters or changes a Variable, and nothing happens

    Fix: Delete it from `.env.example`, or correct its name.

    Source: ours: a variable that no code reads has no effect.
    """
    require_none(drift.unread_problems(space.folder, declaration))


def test_readme_names_what_is_required(space: Space, declaration: EnvironmentDeclaration) -> None:
    """README.md names every required Variable and Secret.

    Severity: advice

    On the Hub: "Runtime error" right after the first push, because the Secrets were not entered

    Fix: Put the table that `preflight settings DIR` prints into README.md.

    Source: ours: nothing on the Hub depends on it.
    """
    readme = space.readme_bytes.decode("utf-8", "replace")
    require_none(drift.undocumented_problems(readme, declaration))


def test_hub_variables_are_not_entered(declaration: EnvironmentDeclaration) -> None:
    """No variable that the Hub sets is declared as required.

    Severity: risk

    On the Hub: Configuration error: Collision on variables and secrets names

    Fix: Make it optional, or delete it: the Hub sets it in every Space.

    Source: hub-docs spaces-overview.md lists the names; users reported the text.
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
    """Declared variables lead to services on ports 80, 443 or 8080; most databases, mail servers and queues use other ports.

    Severity: risk

    On the Hub: a time-out or [Errno 101] Network is unreachable at the first query; users could not reach mail servers, but could reach PostgreSQL on 5432

    Fix: Use the address of the service's HTTPS or WebSocket endpoint, or of a proxy on port 443.

    Source: hub-docs spaces-overview.md: all ports except 80, 443 and 8080 are blocked; observed:
    5432 is open.
    """
    try:
        declared = space.declaration
    except EnvironmentDeclarationError:
        pytest.skip("the declaration cannot be read: see declaration.can_be_read")
    if declared is None:
        not_promised(UNDECLARED)
    require_none(
        Problem(
            f"ports {', '.join(map(str, DOCUMENTED_PORTS))}",
            f"{value}",
            # The Space may use another route, such as WebSockets to Neon; its start shows its connections.
            severity=value.known.severity if value.entered else Severity.ADVICE,
        )
        for value in egress.doubtful(space, declared)
    )
