"""The run of a pytest process, and whether a test of it has failed."""

from __future__ import annotations

import shutil

import pytest

from preflight.engine.run import ONCE, Run
from preflight.pytest_plugin.folders import report_folder

FAILED = pytest.StashKey[bool]()
_KEY = pytest.StashKey[Run]()


def run_of(config: pytest.Config) -> Run:
    """The run of this pytest process, created at the first call; xdist workers get the controller's run."""
    run = config.stash.get(_KEY, None)
    if run is None:
        worker = getattr(config, "workerinput", None)
        stable = bool(config.getoption("--keep") or config.getoption("--reuse"))
        run = Run(report_folder(config), worker["preflight_run"] if worker else None, stable)
        config.stash[_KEY] = run
        if worker is None:
            # The results of an earlier run with this stable id may be absent or outdated.
            shutil.rmtree(run.folder / ONCE, ignore_errors=True)
    return run


def failed(item: pytest.Item) -> bool:
    """Whether a phase of this test has failed so far."""
    return item.stash.get(FAILED, False)
