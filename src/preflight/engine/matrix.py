"""The environments that a Space must refuse or accept, and its response to each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from preflight.engine.container import NotServing, SpaceContainer
from preflight.engine.image import Image
from preflight.engine.run import Run
from preflight.model.environment import Case, Condition, EnvironmentDeclaration, Variable
from preflight.model.hub_profile import HUB
from preflight.model.space import Space


@dataclass(frozen=True)
class Outcome:
    """What the Space did in the environment of `case`.

    served: it answered. code: its exit code, None when it did not end. output: its log, or the last
    observation when it neither ended nor served.
    """

    case: Case
    served: bool
    code: int | None
    seconds: float
    output: str = ""

    @property
    def title(self) -> str:
        names = ", ".join(self.case.names_expected)
        return f"{names} {self.case.id}" if names else self.case.id


def cases(declaration: EnvironmentDeclaration) -> list[Case]:
    """The matrix, the valid environment first; an environment that several variables need occurs once."""
    once: dict[tuple[bool, str, frozenset[tuple[str, str]]], Case] = {}
    for case in _cases(declaration):
        here = case.id if "sample-here" in case.id else ""
        once.setdefault((case.refused, here, frozenset(case.environment.items())), case)
    return list(once.values())


def _cases(declaration: EnvironmentDeclaration) -> Iterator[Case]:
    """Each required variable unset alone; all else together with as much of the other variables.

    A Space has to name all faults at once, so one start judges many variables.
    """
    optional = [v for v in declaration.variables if v.required is False]
    valid = declaration.valid_environment()
    yield Case("valid", valid)
    missing = declaration.everything_missing()
    if missing.refused:
        yield missing
    # Variables that a condition requires are judged apart from the variables that it reads.
    groups: dict[Condition | None, list[Variable]] = {}
    for variable in declaration.variables:
        condition = variable.required if isinstance(variable.required, Condition) else None
        groups.setdefault(condition, []).append(variable)
        if variable not in optional:
            alone = ("unset", "unset-where-not-required")
            yield from (case for case in declaration.faulty_cases(variable) if case.id in alone)
    blank = {**valid, **{v.name: "" for v in optional}}
    yield Case("every optional variable empty", blank)
    yield Case(
        "every optional variable blank", {name: value or "   " for name, value in blank.items()}
    )
    for group in groups.values():
        yield from _together(group, declaration, refused=True)
        yield from _together(group, declaration, refused=False)
    yield from _pasted(declaration)


# Characters that come along when a value is copied from a terminal, a file or a document.
PASTED = (
    ("with a newline after it", "{}\n"),
    ("with spaces around it", "  {} "),
    ("in quotes", '"{}"'),
)


def _pasted(declaration: EnvironmentDeclaration) -> Iterator[Case]:
    """Values as they are pasted into the settings: the Space trims them, or refuses them by name.

    To see whether it trims, the bare value must be one that it refuses: a published sample, or a text that
    only the newline makes long enough.
    """
    valid = declaration.valid_environment()
    for how, pattern in PASTED:
        given = {name: pattern.format(value) for name, value in valid.items() if value.strip()}
        yield Case(f"every value {how}", {**valid, **given}, either=True)
    samples = {
        variable.name: variable.sample for variable in declaration.variables if variable.sample
    }
    short = {}
    for variable in declaration.variables:
        least = variable.type.given.get("minLength", "")
        # When the type has further options, a shorter text may break one of them.
        if least.isdigit() and int(least) > 1 and set(variable.type.given) == {"minLength"}:
            short[variable.name] = valid.get(variable.name, "x" * int(least))[: int(least) - 1]
    for how, pattern in PASTED[:2]:
        for what, values in (("a published sample", samples), ("a text too short", short)):
            given = {name: pattern.format(value) for name, value in values.items() if value.strip()}
            if given:
                hub = {"SYSTEM": "spaces"}
                yield Case(f"{what} {how}", {**valid, **given, **hub}, tuple(given))


def _together(
    variables: list[Variable], declaration: EnvironmentDeclaration, refused: bool
) -> Iterator[Case]:
    """The n-th case of each variable in one environment, for each n."""
    elsewhere = ["valid", "unset", "unset-where-not-required"]
    elsewhere += [] if refused else ["empty", "blank"]
    rows = [
        [
            (variable, case)
            for case in declaration.faulty_cases(variable)
            if case.refused == refused and case.id not in elsewhere
        ]
        for variable in variables
    ]
    conditional = isinstance(variables[0].required, Condition)
    for column in range(max(map(len, rows), default=0)):
        # The conditions that require them hold.
        environment = (
            declaration.environment_for(variables[0])
            if conditional
            else declaration.valid_environment()
        )
        chosen = [row[column] for row in rows if column < len(row)]
        for variable, case in chosen:
            environment |= {
                name: value
                for name, value in case.environment.items()
                if name in (variable.name, "SYSTEM") or name not in environment
            }
        kinds = ", ".join(dict.fromkeys(case.id for _, case in chosen))
        names = tuple(variable.name for variable, _ in chosen) if refused else ()
        yield Case(kinds if len(chosen) == 1 else f"all at once: {kinds}", environment, names)


def try_case(run: Run, space: Space, image: Image, case: Case, deadline: float) -> Outcome:
    """Start the Space in the environment of `case`. deadline: seconds to the first answer."""
    # A sample value is for this machine: only the Hub's own variables make it a fault.
    hub = {} if "sample-here" in case.id else HUB.environment(space.name, space.name)
    environment = {**hub, **case.environment}
    if case.refused:
        # A Space refuses before it connects, and a network is a third of a start's cost.
        alone = ["--network=none"]
        end = SpaceContainer.run_to_exit(run, image, environment, HUB.refusal_deadline, alone)
        if end is None:
            return Outcome(case, False, None, HUB.refusal_deadline, "it went on running")
        return Outcome(case, False, end.code, end.seconds, end.output)
    with SpaceContainer.start(run, image, space.name, environment, space.app_port) as container:
        try:
            return Outcome(case, True, None, container.wait_until_serving(deadline=deadline))
        except NotServing as error:
            state = container.state
            code = int(state["ExitCode"]) if state["Status"] == "exited" else None
            return Outcome(case, False, code, deadline, str(error))
