"""pytest plugin: the values of a run's variables, and a line that names their sources."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from preflight.model.environment import EnvironmentDeclarationError
from preflight.model.given import GivenError, given_values
from preflight.model.space import Space, SpaceError
from preflight.pytest_plugin.terminal import judges_alone

_ORIGINS = pytest.StashKey[dict[str, str]]()


def with_values(config: pytest.Config, space: Space) -> Space:
    """The Space with this run's values. Raises SpaceError if a value or file can't be read."""
    if space.source is None:
        return space
    try:
        declaration = space.declaration
    except EnvironmentDeclarationError:
        # declaration.can_be_read reports it.
        return space
    examples: dict[str, str] | None = {}
    if declaration is not None:
        plain = {variable.name: variable.default or "" for variable in declaration.variables}
        examples = None if declaration.decorated else plain
    files = [_as_typed(config, Path(path)) for path in config.getoption("--env-file")]
    try:
        given = given_values(
            space.working_folder or space.source, config.getoption("--env"), files, examples
        )
    except GivenError as error:
        raise SpaceError(str(error)) from None
    config.stash.setdefault(_ORIGINS, {})[space.name] = str(given)
    return replace(space, given=given.values)


def _as_typed(config: pytest.Config, path: Path) -> Path:
    path = path.expanduser()
    return (
        path if path.is_absolute() else Path(os.path.relpath(config.invocation_params.dir / path))
    )


def pytest_report_header(config: pytest.Config) -> list[str]:
    origins = config.stash.get(_ORIGINS, {})
    return [f"values for {name}: {text}" for name, text in origins.items() if text]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    # Without -v, a run that contains only the contract has no header; a quiet one never has.
    if config.option.verbose < (1 if judges_alone(config) else 0):
        for line in pytest_report_header(config):
            terminalreporter.write_line(line)
