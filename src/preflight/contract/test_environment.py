"""The environment: a Space that lacks a Variable or Secret reports it and exits instead of running broken."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from preflight.contract.findings import UNDECLARED, not_promised, require_none, show
from preflight.engine.image import Image
from preflight.engine.matrix import Outcome
from preflight.engine.rehearsal import Rehearsal
from preflight.model.hub_profile import HUB
from preflight.model.problems import Problem
from preflight.model.space import Space

# A Space that does not build or start with a valid environment is one finding: start.serves.
pytestmark = pytest.mark.usefixtures("container")


@pytest.fixture(scope="session")
def tried(space: Space, image: Image, rehearsal: Rehearsal) -> list[Outcome]:
    """The outcome of a start with each environment of the matrix, the valid environment first."""
    declaration = space.declaration
    if declaration is None or not declaration.decorated:
        not_promised(UNDECLARED)
    outcomes = rehearsal.tried()
    if outcomes is None:
        pytest.skip("not checked: the Space does not start, see start.serves")
    return outcomes


def problems(
    outcomes: Iterable[Outcome], expected: str, actual: Callable[[Outcome], str | None]
) -> None:
    """Pass if `actual` finds no fault in any outcome. An empty matrix is a skip, not a pass."""
    judged = list(outcomes)
    if not judged:
        not_promised("no declared variable has such a case")
    found = ((outcome, actual(outcome)) for outcome in judged)
    require_none(Problem(expected, f"{case.title}: {wrong}") for case, wrong in found if wrong)


def shown(outcome: Outcome) -> dict[str, Any]:
    """A start, as the run's page shows it."""
    serves = outcome.served
    return {
        "kind": outcome.case.id,
        "names": list(outcome.case.names_expected),
        "refused": outcome.case.refused,
        "code": outcome.code,
        "serves": serves,
        "seconds": outcome.seconds,
        "good": outcome.case.either or (bool(outcome.code) if outcome.case.refused else serves),
    }


def refused(outcomes: list[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.case.refused]


def test_refuses_a_wrong_environment(space: Space, tried: list[Outcome]) -> None:
    """If a required variable is unset, empty or blank, or any variable is malformed, the Space exits with a code other than 0.

    Severity: risk

    On the Hub: the Space is "Running" and every request fails, because a Secret was never set

    Fix: Check the environment before listening. If it is invalid, exit instead of failing at the first request.

    Source: ours: a variable that is declared as required is required.
    """
    show("environment", *map(shown, tried))
    problems(
        refused(tried),
        f"an exit code other than 0 within {HUB.refusal_deadline:g} s",
        lambda outcome: (
            None
            if outcome.code
            else outcome.output
            if outcome.code is None
            else "it ended with exit code 0"
        ),
    )


def test_names_every_faulty_variable_at_once(space: Space, tried: list[Outcome]) -> None:
    """The error output names every faulty variable at once.

    Severity: risk

    On the Hub: "Runtime error" with a log that does not name the missing Secret, or names another one after each restart

    Fix: Collect all faults, print a line with the variable's name for each, then exit.

    Source: ours: the Space's page shows the log.
    """

    def unnamed(outcome: Outcome) -> str | None:
        names = [name for name in outcome.case.names_expected if name not in outcome.output]
        last = outcome.output.strip().splitlines()[-1:] or ["(it printed nothing)"]
        return f"{', '.join(names)} not named; its last line: {last[0][:300]}" if names else None

    ended = [outcome for outcome in refused(tried) if outcome.code is not None]
    problems(ended, "the name of each faulty variable in the log", unnamed)


def test_prints_no_value(space: Space, tried: list[Outcome]) -> None:
    """The error output contains no value of a Secret and no stack trace.

    Severity: risk

    On the Hub: the run log of a public Space shows a password, or a stack trace hides the cause

    Fix: Print the variable's name and the rule that it breaks, never its value.

    Source: ours: more people can read the log than the settings.
    """
    declaration = space.declaration
    secrets = {variable.name for variable in declaration.secrets} if declaration else set()

    def leaked(outcome: Outcome) -> str | None:
        named = [
            name
            for name, value in outcome.case.environment.items()
            # A short value may be a word of an ordinary message.
            if name in secrets and len(value.strip()) >= 8 and value in outcome.output
        ]
        if named:
            return f"the value of {', '.join(named)} is in the log"
        trace = any(mark in outcome.output for mark in ("Traceback (most recent", "\n    at "))
        return "a stack trace is in the log" if trace else None

    problems(refused(tried), "a message without values and without a stack trace", leaked)


def test_accepts_a_right_environment(space: Space, tried: list[Outcome]) -> None:
    """If every variable is valid, at its limits, or optional and empty, the Space serves.

    Severity: breaks

    On the Hub: "Runtime error" though every Variable and Secret was entered as documented

    Fix: Accept what `.env.example` declares as valid, and treat an empty optional variable as unset.

    Source: observed: "Exit code: 1. Reason:" and the end of the log.
    """
    problems(
        [outcome for outcome in tried if not outcome.case.refused and not outcome.case.either],
        f"an answer on port {space.app_port}",
        lambda outcome: None if outcome.served else outcome.output,
    )


def test_trims_or_refuses_by_name(space: Space, tried: list[Outcome]) -> None:
    """The Space trims a value with a newline, spaces or quotes around it, or refuses it and names the variable.

    Severity: risk

    On the Hub: 401 from a service, or "Invalid URL", though the correct key was pasted into the settings

    Fix: Trim each value before you check and use it.

    Source: observed: the settings page keeps the pasted value, including a newline at its end.
    """
    names = [variable.name for variable in space.declaration.variables] if space.declaration else []

    def unclear(outcome: Outcome) -> str | None:
        if outcome.served:
            return None
        if not any(name in outcome.output for name in names):
            return f"it exits and names no variable: {last_line(outcome)}"
        trace = any(mark in outcome.output for mark in ("Traceback (most recent", "\n    at "))
        return f"it exits with a stack trace: {last_line(outcome)}" if trace else None

    problems(
        [outcome for outcome in tried if outcome.case.either],
        "an answer, or a refusal that names the variable",
        unclear,
    )


def last_line(outcome: Outcome) -> str:
    return (outcome.output.strip().splitlines() or ["(it printed nothing)"])[-1][:300]
