"""Run a check again whenever a file of the Space changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from preflight.model.context import context_files

LOOK_EVERY = 0.5
"""Seconds between two readings of the files."""


def on_change(folders: Sequence[Path], check: Callable[[], int]) -> int:
    """Call `check` now and after each change, until Ctrl-C; returns the last exit code."""
    code = 0
    try:
        while True:
            before = state_of(folders)
            code = check()
            print("waiting for a change; Ctrl-C stops", flush=True)
            while state_of(folders) == before:
                time.sleep(LOOK_EVERY)
    except KeyboardInterrupt:
        return code


def state_of(folders: Sequence[Path]) -> dict[Path, float]:
    """The time of the last write to each file that a build uses."""
    found = {}
    for folder in folders:
        for name in [*context_files(folder), "Dockerfile", ".dockerignore", "preflight.toml"]:
            path = folder / name
            try:
                found[path] = path.stat().st_mtime
            except OSError:
                # Absent, or removed since the listing.
                continue
    return found
