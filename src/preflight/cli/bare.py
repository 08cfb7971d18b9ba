"""Commands that run before anything is installed, with the standard library alone."""

from __future__ import annotations

from pathlib import Path

from preflight.cli import dependencies, up
from preflight.engine import install


def main(arguments: list[str]) -> int:
    """`up`, `down`, `engine [stop]`, `dependencies FOLDER`; returns the exit code."""
    try:
        match arguments:
            case ["engine", "stop"]:
                install.stop()
            case ["engine"]:
                install.ensure()
            case ["dependencies", folder]:
                dependencies.main(Path(folder))
            case _:
                return up.main(arguments)
    except KeyboardInterrupt:
        return 130
    return 0
