"""The folder of a run's report and logs. A run writes nowhere else."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from pathlib import Path

import pytest

# A report folder in the cache in which no run wrote for so long goes: its project may not exist any more.
KEPT_SECONDS = 30 * 24 * 60 * 60


def report_folder(config: pytest.Config) -> Path:
    """`--report-dir`, relative to the current folder; by default a folder in the user's cache.

    Its .gitignore keeps a report out of the repository that is checked.
    """
    given = config.getoption("--report-dir")
    typed_in = config.invocation_params.dir
    folder = typed_in / given if given else in_the_cache(typed_in)
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / ".gitignore"
    if not mark.exists():
        mark.write_text("*\n")
    if not given:
        remove_forgotten(folder)
    return folder


def remove_forgotten(own: Path) -> None:
    """Remove the report folders beside `own` that are older than KEPT_SECONDS."""
    for mark in own.parent.glob("*/.gitignore"):
        folder = mark.parent
        if folder != own and time.time() - folder.stat().st_mtime > KEPT_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def in_the_cache(invoked_in: Path) -> Path:
    """The report folder of runs that start in the folder `invoked_in`."""
    # Outside the Space's folder: a report there would be part of its build context.
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256(str(invoked_in).encode()).hexdigest()[:8]
    return cache / "preflight" / f"{invoked_in.name}-{digest}"
