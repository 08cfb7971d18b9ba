"""How a shell of this machine starts Preflight. Standard library only."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

NAME = "preflight"


def typed(arguments: str) -> str:
    """`preflight ARGUMENTS`, as it works where it is read.

    Without an activated virtual environment the name alone is unknown: its path takes its place.
    """
    beside = Path(sys.argv[0]).with_name(NAME)
    for found in (beside, Path(".venv/bin") / NAME):
        if not shutil.which(NAME) and found.is_file():
            return f"{found} {arguments}"
    return f"{NAME} {arguments}"


def runnable(text: str) -> str:
    """The text, with each `preflight …` in it as it works where it is read."""
    return text.replace(f"`{NAME} ", f"`{typed('')}")
