"""The one declaration of a Space's environment: `.env.example` with @env-spec decorators.

    # Session signing key; at least 32 characters.
    # @required @sensitive @type=string(minLength=32)
    BETTER_AUTH_SECRET=

`@sensitive` makes a Secret, everything else is a Variable; nothing is required unless it says so.
`@sample=VALUE` is ours: a value for this machine that the Space has to refuse on the Hub.
`@dependency=VALUE` is ours: the variable names a service that the Space connects to; VALUE is of the
form that it takes and points to 127.0.0.1:9, where nothing answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from preflight.model.environment.parser import Fault, is_meant, items_of
from preflight.model.environment.types import Enum
from preflight.model.environment.variable import Condition, Variable, variable_of


class EnvironmentDeclarationError(Exception):
    """A declaration that cannot be used; its text has one line per fault, `file:line: message`."""

    def __init__(self, source: str, faults: list[Fault]) -> None:
        self.source = source
        self.faults = sorted(faults, key=lambda fault: fault.line)
        super().__init__(
            "\n".join(f"{source}:{found.line}: {found.message}" for found in self.faults)
        )


@dataclass(frozen=True)
class Case:
    """One way to start the Space: an environment, and whether the Space must refuse it.

    `names_expected` are the variables that the refusal must name, all at once; empty
    when the Space must start. `either`: it may start, or refuse and name a variable.
    """

    id: str
    environment: dict[str, str]
    names_expected: tuple[str, ...] = ()
    either: bool = False

    @property
    def refused(self) -> bool:
        return bool(self.names_expected)


@dataclass(frozen=True)
class EnvironmentDeclaration:
    """The content of an `.env.example`. `decorated` distinguishes a declaration from a plain list.

    In a plain list of names (without a known decorator), every variable is optional.
    """

    source: str
    variables: tuple[Variable, ...]
    decorated: bool

    @property
    def secrets(self) -> list[Variable]:
        """To enter as Secrets: never a build argument, never public."""
        return [variable for variable in self.variables if variable.sensitive]

    @property
    def variables_public(self) -> list[Variable]:
        """To enter as Variables: public, passed to the build, copied on duplication."""
        return [variable for variable in self.variables if not variable.sensitive]

    def __getitem__(self, name: str) -> Variable:
        return next(variable for variable in self.variables if variable.name == name)

    @classmethod
    def of_file(cls, path: Path) -> EnvironmentDeclaration:
        """Read a declaration.

        Raises:
            EnvironmentDeclarationError: naming file, line, fault and remedy; all faults at once.
        """
        try:
            text = path.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            fault = Fault(1, f"it is not UTF-8 (byte {error.start}); save it as UTF-8")
            raise EnvironmentDeclarationError(path.name, [fault]) from error
        return cls.of_text(text, source=path.name)

    @classmethod
    def of_text(cls, text: str, *, source: str = ".env.example") -> EnvironmentDeclaration:
        """Read a declaration from its text. Raises like `of_file`."""
        items = list(items_of(text))
        decorated = any(is_meant(name) for name in re.findall(r"(?m)^#\s*@(\w+)", text))
        faults: list[Fault] = []
        variables: list[Variable] = []
        for item in items:
            if item.name is None:
                # Prose may mention decorators; a line of decorators only has lost its variable.
                faults += [
                    Fault(
                        decorator.line,
                        f"{decorator} stands above no variable; put the variable below it",
                    )
                    for decorator in item.decorators
                    if not item.faults
                ]
                continue
            faults += item.faults
            if not item.name:
                continue
            earlier = next((variable for variable in variables if variable.name == item.name), None)
            if earlier is not None:
                again = f"{item.name} is declared again (first in line {earlier.line}); keep one"
                faults.append(Fault(item.line, again, duplicate=True))
                continue
            variables.append(variable_of(item, faults if decorated else []))
        declaration = cls(source, tuple(variables), decorated)
        if decorated:
            faults += _reference_faults(declaration)
        if decorated and faults:
            raise EnvironmentDeclarationError(source, faults)
        return declaration

    def is_required(self, variable: Variable, environment: dict[str, str]) -> bool:
        """Whether `variable` has to be set in this environment (resolves its condition)."""
        if not isinstance(variable.required, Condition):
            return variable.required
        other = self[variable.required.variable]
        value = environment.get(other.name, "").strip() or other.default or ""
        return bool(value) if variable.required.value is None else value == variable.required.value

    def valid_environment(self, seed: int = 0, **overrides: str) -> dict[str, str]:
        """A full environment with which the Space must start.

        Holds every required variable (given `overrides`, such as RAG_MODE="cloud") and every
        optional variable with an `@example`; of a plain list, every variable with a value. A value
        is the `@example`, else the default, else made from type and options. Made text is random,
        and the same for the same seed, so a Secret found in an image, a log or an answer is a leak.
        """
        return self._environment(seed, overrides)

    def _environment(
        self, seed: int, overrides: dict[str, str], absent: str | None = None
    ) -> dict[str, str]:
        environment = dict(overrides)
        # Variables that a condition names come first: they decide which others are required.
        deciding = {
            v.required.variable for v in self.variables if isinstance(v.required, Condition)
        }
        for variable in sorted(
            self.variables, key=lambda candidate: candidate.name not in deciding
        ):
            if variable.name in environment or variable.name == absent:
                continue
            given = variable.example if self.decorated else variable.default
            wanted = given is not None and not isinstance(variable.required, Condition)
            if self.is_required(variable, environment) or wanted:
                environment[variable.name] = variable.value(seed)
        return environment

    def environment_for(
        self, variable: Variable, seed: int = 0, value: str | None = None
    ) -> dict[str, str]:
        """A valid environment that sets `variable` (to `value`): its condition, if any, holds."""
        if value is None:
            value = variable.value(seed)
        return self._environment(seed, {**self._holding(variable, seed), variable.name: value})

    def _holding(self, variable: Variable, seed: int) -> dict[str, str]:
        """The variables to set so that the variable's condition holds."""
        condition = variable.required
        if not isinstance(condition, Condition):
            return {}
        value = condition.value or self[condition.variable].value(seed)
        return {condition.variable: value}

    def environment_without_dependencies(self) -> dict[str, str] | None:
        """A valid environment in which no dependency answers; None when none is declared."""
        dependent = [variable for variable in self.variables if variable.dependency is not None]
        overrides: dict[str, str] = {}
        for variable in dependent:
            overrides |= self._holding(variable, 0)
            overrides[variable.name] = variable.dependency or ""
        return self.valid_environment(0, **overrides) if dependent else None

    def everything_missing(self) -> Case:
        """An empty environment: the Space must name every unconditionally required variable at once."""
        names = tuple(v.name for v in self.variables if self.is_required(v, {}))
        return Case("nothing-set", {}, names)

    def faulty_cases(self, variable: Variable, seed: int = 0) -> list[Case]:
        """The matrix for one variable: each fault, and its twin that the Space must accept.

        unset, empty, blank: refused when required, accepted when optional. Each way to break the
        type: refused. A sample value: accepted here, refused on the Hub (`SYSTEM=spaces`).
        """
        valid = self.environment_for(variable, seed)
        named = (variable.name,)
        missing = named if variable.required is not False else ()
        # Variables that depend on this one are left out with it.
        without = self._environment(seed, self._holding(variable, seed), absent=variable.name)
        cases = [
            Case("valid", valid),
            Case("unset", without, missing),
            Case("empty", {**without, variable.name: ""}, missing),
            Case("blank", {**without, variable.name: "   "}, missing),
        ]
        for fault, value in variable.malformed():
            cases.append(Case(fault, {**valid, variable.name: value}, named))
        for limit, value in variable.boundary():
            cases.append(Case(limit, self.environment_for(variable, seed, value)))
        if variable.sample is not None:
            here = {**valid, variable.name: variable.sample}
            cases.append(Case("sample-here", here))
            cases.append(Case("sample-on-the-hub", {**here, "SYSTEM": "spaces"}, named))
        if isinstance(variable.required, Condition):
            elsewhere = self._environment_without(variable.required, seed)
            if elsewhere is not None:
                cases.append(Case("unset-where-not-required", elsewhere))
        return cases

    def _environment_without(self, condition: Condition, seed: int) -> dict[str, str] | None:
        other = self[condition.variable]
        if condition.value is None:
            return self._environment(seed, {}, absent=other.name)
        for value in (
            other.example,
            other.default,
            *(other.type.members if isinstance(other.type, Enum) else ()),
        ):
            if value is not None and value != condition.value:
                return self.valid_environment(seed, **{other.name: value})
        return None

    def settings_table(self) -> str:
        """The Variables and Secrets to enter in the Space's settings, as Markdown."""
        rows = [("Name", "Enter as", "Needed", "What it is", "Example")]
        for variable in self.variables:
            rows.append(
                (
                    f"`{variable.name}`",
                    variable.kind,
                    _needed(variable),
                    variable.description,
                    f"`{variable.example}`" if variable.example else "",
                )
            )
        cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
        widths = [max(len(row[column]) for row in cells) for column in range(len(rows[0]))]
        lines = [
            "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |"
            for row in cells
        ]
        lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
        return "\n".join(lines)


def _needed(variable: Variable) -> str:
    if isinstance(variable.required, Condition):
        return f"when {variable.required}"
    return "yes" if variable.required else "no"


def _reference_faults(declaration: EnvironmentDeclaration) -> Iterator[Fault]:
    by_name = {variable.name: variable for variable in declaration.variables}
    for variable in declaration.variables:
        condition = variable.required
        if not isinstance(condition, Condition):
            continue
        other = by_name.get(condition.variable)
        if other is None:
            yield Fault(
                variable.line,
                f"{variable.name} is required when {condition}, and {condition.variable} "
                "is not declared",
            )
        elif condition.value is not None and not other.accepts(condition.value):
            yield Fault(
                variable.line,
                f"{variable.name} is required when {condition}, which it never is",
            )
