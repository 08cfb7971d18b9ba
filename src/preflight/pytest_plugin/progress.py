"""pytest plugin: shows what a run waits for, although pytest captures the tests' output."""

from __future__ import annotations

import os

import pytest

from preflight.engine import progress

_STREAM = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    if config.option.verbose < -1:
        return
    # pytest redirects standard error while a test runs; this copy still leads to the terminal.
    stream = config.stash[_STREAM] = os.dup(2)
    # On a terminal, the line replaces the dots of the checks that have run.
    start = "\r" if os.isatty(stream) else ""
    on_terminal = os.isatty(1) and os.isatty(stream)
    progress.show_by(lambda line: _write(stream, f"{start}{line}\n"), once=not on_terminal)


def pytest_unconfigure(config: pytest.Config) -> None:
    progress.show_by(None)
    stream = config.stash.get(_STREAM, None)
    if stream is not None:
        os.close(stream)


def _write(stream: int, text: str) -> None:
    try:
        os.write(stream, text.encode())
    except OSError:
        # The reader has closed the pipe, as in `preflight check | head`.
        progress.show_by(None)
