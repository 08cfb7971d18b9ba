"""The pytest plugin: `pytest --space DIR` checks a Space, in any folder.

pytest loads this module in every run if the package is installed, so it adds only options. A run
that names a Space starts a separate pytest with the contract's settings: the settings, conftests and
plug-ins of the current folder belong to other tests.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from preflight.pytest_plugin import options

CONTRACT = Path(__file__).resolve().parents[1] / "contract"
# The contract's modules that do not need a Docker engine.
STATIC = ("metadata", "push", "tree", "declaration", "dockerfile", "build")
SESSION = "preflight.pytest_plugin.session"
# Before it knows these options, pytest would mistake their value for a test folder, and `check` for a Space.
TAKE_A_VALUE = (
    *("--space", "--report-dir", "--env", "--env-file", "--ref", "--live", "--through", "--owner"),
    *("--hub", "--fail-on", "--format", "-k", "-m", "-n", "-p", "-o", "-r", "-W"),
    # pytest's own, and xdist's.
    *("--numprocesses", "--dist", "--junitxml", "--durations", "--maxfail", "--tb", "--deselect"),
    *("--ignore", "--color", "--log-level", "--basetemp"),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    options.add(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    given = early_config.known_args_namespace
    if early_config.pluginmanager.has_plugin(SESSION) or not (given.space or given.live):
        return
    capture = early_config.pluginmanager.getplugin("capturemanager")
    if capture:
        capture.suspend_global_capture(in_=True)
    arguments = [str(argument) for argument in early_config.invocation_params.args]
    raise SystemExit(judge(arguments, bool(given.file_or_dir)))


def judge(arguments: Sequence[str], names_tests: bool = False) -> int:
    """Run `command` with these arguments, and return its exit code: 0 all rules hold, 1 findings, 2
    could not judge, 5 nothing to judge."""
    code = subprocess.call(command(arguments, names_tests))
    # pytest's codes for an internal error and for a usage error.
    return 2 if code in (3, 4) else code


def command(arguments: Sequence[str], names_tests: bool = False) -> list[str]:
    """The command that runs the contract with these pytest arguments.

    names_tests: the arguments name tests of the contract by path; otherwise the whole contract runs.
    """
    whole = [] if names_tests else [str(CONTRACT)]
    settings = ("-c", str(CONTRACT / "pytest.ini"))
    return [sys.executable, "-m", "pytest", *settings, *with_values(arguments), *whole]


def with_values(arguments: Sequence[str]) -> list[str]:
    """The arguments, with each option and its value joined."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] in TAKE_A_VALUE:
            joined[-1] += argument if len(joined[-1]) == 2 else f"={argument}"
        else:
            joined.append(argument)
    return joined
