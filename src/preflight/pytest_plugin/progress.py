"""pytest plugin: shows what a run waits for, though pytest captures what its tests print."""

from __future__ import annotations

import os

import pytest

from preflight.engine import progress

_STREAM = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    if config.option.verbose < -1:
        return
    # While a test runs, the error output belongs to pytest; this copy stays the terminal's.
    stream = config.stash[_STREAM] = os.dup(2)
    # On a terminal the line takes the place of the dots of the checks that have run.
    start = "\r" if os.isatty(stream) else ""
    progress.show_by(lambda line: _write(stream, f"{start}{line}\n"))


def pytest_unconfigure(config: pytest.Config) -> None:
    progress.show_by(None)
    stream = config.stash.get(_STREAM, None)
    if stream is not None:
        os.close(stream)


def _write(stream: int, text: str) -> None:
    try:
        os.write(stream, text.encode())
    except OSError:
        # No reader is left: `preflight check | head`.
        progress.show_by(None)
