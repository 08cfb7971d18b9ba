"""Where a run writes: its report, its logs, and nothing anywhere else."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest


def report_folder(config: pytest.Config) -> Path:
    """`--report-dir`, relative to the folder of pytest's settings; else a folder of the user's cache.

    It ignores itself in git, so that a report never shows up in the repository that is judged.
    """
    given = config.getoption("--report-dir")
    folder = config.rootpath / given if given else _in_the_cache(config.invocation_params.dir)
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / ".gitignore"
    if not mark.exists():
        mark.write_text("*\n")
    return folder


def _in_the_cache(invoked_in: Path) -> Path:
    # Outside the Space's folder: a report there would be part of its build context.
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256(str(invoked_in).encode()).hexdigest()[:8]
    return cache / "preflight" / f"{invoked_in.name}-{digest}"
