"""The environments that a Space must refuse and accept, and how it took each of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from preflight.engine.container import NotServing, run_to_end, start
from preflight.engine.image import Image
from preflight.engine.run import Run
from preflight.model.environment import Case, Condition, EnvironmentDeclaration, Variable
from preflight.model.hub_profile import HUB
from preflight.model.space import Space

# A start waits for the engine and the disk for about a third of its time.
PARALLEL = (os.cpu_count() or 1) + 1


@dataclass(frozen=True)
class Outcome:
    """What the Space did: its exit code and output, or None and what it did instead of ending."""

    case: Case
    code: int | None
    seconds: float
    output: str

    @property
    def title(self) -> str:
        names = ", ".join(self.case.names_expected)
        return f"{names} {self.case.id}" if names else self.case.id


def cases(declaration: EnvironmentDeclaration) -> list[Case]:
    """The matrix, the valid environment first; one that several variables ask for stands in it once."""
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
    # What a condition requires is judged apart from what that condition reads.
    groups: dict[Condition | None, list[Variable]] = {}
    for variable in declaration.variables:
        condition = variable.required if isinstance(variable.required, Condition) else None
        groups.setdefault(condition, []).append(variable)
        if variable not in optional:
            alone = ("unset", "unset-where-not-required")
            yield from (one for one in declaration.faulty_cases(variable) if one.id in alone)
    blank = {**valid, **{v.name: "" for v in optional}}
    yield Case("every optional variable empty", blank)
    yield Case(
        "every optional variable blank", {name: value or "   " for name, value in blank.items()}
    )
    for group in groups.values():
        yield from _together(group, declaration, refused=True)
        yield from _together(group, declaration, refused=False)


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
        # Where they are required on a condition, that condition holds.
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


def try_cases(run: Run, space: Space, image: Image, chosen: list[Case]) -> list[Outcome]:
    """Start the Space in each environment, several at a time."""
    with ThreadPoolExecutor(PARALLEL) as pool:
        return list(pool.map(lambda case: _try(run, space, image, case), chosen))


def _try(run: Run, space: Space, image: Image, case: Case) -> Outcome:
    hub = HUB.environment(space.name, space.name)
    if "sample-here" in case.id:
        # A sample value is for this machine: only the Hub's own variables make it a fault.
        hub = {}
    environment = {**hub, **case.environment}
    if case.refused:
        # A refusal comes before anything is dialled, and a network is a third of a start's cost.
        alone = ["--network=none"]
        end = run_to_end(run, image, environment, HUB.refusal_deadline, alone)
        if end is None:
            return Outcome(case, None, HUB.refusal_deadline, "it went on running")
        return Outcome(case, end.code, end.seconds, end.output)
    with start(run, image, space.name, environment, space.app_port) as container:
        try:
            return Outcome(case, None, container.wait_until_serving(), "it serves")
        except NotServing as error:
            code = container.state["ExitCode"]
            return Outcome(case, code, HUB.start_deadline, str(error))
