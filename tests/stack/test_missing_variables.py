"""Missing variables: a Space refuses to start, names every absent variable, and prints no value."""

from __future__ import annotations

import time

import pytest

from preflight.model.environment import Condition, EnvironmentDeclaration, Variable
from tests.spaces import ROOT
from tests.stack.conftest import RunOnce

SPACES = ("backend-py", "backend-node")
# A Space refuses an invalid environment within this time; Compose adds its start.
REFUSED_WITHIN = 10


def required(service: str) -> list[Variable]:
    """The variables that the Space's declaration requires, always or under a condition."""
    declaration = EnvironmentDeclaration.of_file(ROOT / service / ".env.example")
    found = [variable for variable in declaration.variables if variable.required]
    assert found, f"{service} requires no variable"
    return found


def holding(variable: Variable) -> dict[str, str]:
    """The environment under which the variable is required."""
    condition = variable.required
    if not isinstance(condition, Condition):
        return {}
    return {condition.variable: condition.value or "https://example.com"}


EACH = [(service, variable.name) for service in SPACES for variable in required(service)]


@pytest.mark.parametrize(("service", "name"), EACH, indirect=["service"])
def test_a_missing_variable_must_be_named(service: str, name: str, run_once: RunOnce) -> None:
    variable = next(variable for variable in required(service) if variable.name == name)
    started = time.monotonic()

    code, output = run_once(**holding(variable), **{name: ""})

    assert code != 0, f"{service} starts without {name}"
    assert name in output, output
    assert "Traceback" not in output and "    at " not in output, output
    assert time.monotonic() - started < 3 * REFUSED_WITHIN


def test_all_missing_variables_must_be_named_at_once(service: str, run_once: RunOnce) -> None:
    conditions: dict[str, str] = {}
    for variable in required(service):
        conditions |= holding(variable)
    absent = [variable.name for variable in required(service) if variable.name not in conditions]

    code, output = run_once(**conditions, **dict.fromkeys(absent, ""))

    assert code != 0
    assert [name for name in absent if name not in output] == [], output
