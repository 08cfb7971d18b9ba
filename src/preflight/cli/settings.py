"""The Variables and Secrets of a Space on the Hub, compared with what its folder declares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from huggingface_hub import HfApi, get_token

from preflight.cli.hub import HUB_ERRORS, SpaceId, said
from preflight.model.environment import EnvironmentDeclaration, Variable
from preflight.rules.reads import HUB_SETS


class Kind(Enum):
    """What is wrong with a Variable or Secret."""

    COLLISION = "is a Variable and a Secret"
    MISSING = "missing"
    PUBLIC = "is a Variable, which everybody can read"
    EMPTY = "is empty and required"
    SAMPLE = "holds the sample value, which the Space refuses on the Hub"
    INVALID = "holds an invalid value"
    UNDECLARED = "set there and not declared"


@dataclass(frozen=True)
class Fault:
    """One Variable or Secret to change in the Space's settings. Never a value."""

    name: str
    kind: Kind
    fix: str
    sensitive: bool = False

    def __str__(self) -> str:
        return f"{self.name}: {self.kind.value}; {self.fix}"


@dataclass(frozen=True)
class SettingsReport:
    """The comparison, or why there is none.

    variables, secrets: how many the Space has. optional: declared optional names that it lacks.
    """

    space: SpaceId
    variables: int = 0
    secrets: int = 0
    faults: list[Fault] = field(default_factory=list)
    optional: list[str] = field(default_factory=list)
    not_compared: str | None = None

    @property
    def missing(self) -> list[str]:
        """Required names that the Space has neither as a Variable nor as a Secret."""
        return [fault.name for fault in self.faults if fault.kind is Kind.MISSING]

    def __str__(self) -> str:
        if self.not_compared:
            return f"Variables and Secrets: not compared, {self.not_compared}"
        verdict = f"{len(self.faults)} to change" if self.faults else "no required one is missing"
        lines = [
            f"Variables and Secrets of {self.space}: {counted(self.variables, 'Variable')}, "
            f"{counted(self.secrets, 'Secret')}; {verdict}",
            *(f"  {fault}" for fault in self.faults),
        ]
        if self.optional:
            lines.append(f"  not set, and optional: {', '.join(self.optional)}")
        return "\n".join(lines)


def compare(space: SpaceId, declaration: EnvironmentDeclaration | None) -> SettingsReport:
    """Compare the Space's Variables and Secrets on the Hub with the declaration."""
    if declaration is None:
        reason = "no .env.example declares any; `preflight init FOLDER` drafts one"
        return SettingsReport(space, not_compared=reason)
    if not get_token():
        reason = "HF_TOKEN is not set. `preflight settings FOLDER` prints what the Space needs"
        return SettingsReport(space, not_compared=reason)
    try:
        api = HfApi()
        listed = api.get_space_variables(str(space)).items()
        variables = {name: variable.value or "" for name, variable in listed}
        secrets = set(api.get_space_secrets(str(space)))
    except HUB_ERRORS as error:
        return SettingsReport(space, not_compared=said(error))
    known = variables.keys() | secrets | HUB_SETS
    optional = [
        variable.name
        for variable in declaration.variables
        if variable.required is False and variable.name not in known
    ]
    faults = list(faults_of(declaration, variables, secrets))
    return SettingsReport(space, len(variables), len(secrets), faults, optional)


def enter_missing(report: SettingsReport, values: Mapping[str, str]) -> list[str]:
    """Enter on the Hub each missing Variable and Secret that `values` holds; returns their names.

    Raises one of HUB_ERRORS when the Hub refuses.
    """
    api, entered = HfApi(), []
    for fault in report.faults:
        if fault.kind is Kind.MISSING and fault.name in values:
            add = api.add_space_secret if fault.sensitive else api.add_space_variable
            add(str(report.space), fault.name, values[fault.name])
            entered.append(fault.name)
    return entered


def faults_of(
    declaration: EnvironmentDeclaration, variables: dict[str, str], secrets: set[str]
) -> Iterator[Fault]:
    """What has to change in a Space's settings.

    variables: name and value, which the Hub publishes. secrets: names; the Hub does not
    return their values.
    """
    for name in sorted(variables.keys() & secrets):
        fix = "the Space stays at “Collision on variables and secrets names” until you delete one of them"
        yield Fault(name, Kind.COLLISION, fix)
    environment = {**dict.fromkeys(secrets, "set"), **variables}
    for variable in declaration.variables:
        if variable.name not in environment:
            if declaration.is_required(variable, environment):
                fix = f"enter it as a {variable.kind} ({variable.description or 'required'})"
                yield Fault(variable.name, Kind.MISSING, fix, variable.sensitive)
        elif variable.sensitive and variable.name in variables:
            fix = "replace the value and enter it as a Secret"
            yield Fault(variable.name, Kind.PUBLIC, fix)
        elif variable.name in variables:
            yield from _faults_of_value(variable, variables[variable.name])
    for name in sorted(environment.keys() - {variable.name for variable in declaration.variables}):
        fix = f"delete it there, or declare it in {declaration.source}"
        yield Fault(name, Kind.UNDECLARED, fix)


def _faults_of_value(variable: Variable, value: str) -> Iterator[Fault]:
    if not value.strip() and variable.required is True:
        yield Fault(variable.name, Kind.EMPTY, "enter a value")
    elif variable.sample is not None and value == variable.sample:
        yield Fault(variable.name, Kind.SAMPLE, "enter a value of your own")
    elif value.strip() and not variable.accepts(value):
        yield Fault(variable.name, Kind.INVALID, f"it is declared as {variable.type.name}")


def counted(count: int, noun: str) -> str:
    """`1 Variable`, `2 Variables`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
