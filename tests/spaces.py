"""The Spaces that tests use: the repository's own, those of the selftest, and the template of `preflight new`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
# A user can add more with `preflight new`; tests of these two must hold then too.
OWN = ("backend-py", "backend-node")
TEMPLATE = ROOT / "src" / "preflight" / "templates" / "python"


def folder_of(name: str) -> Path:
    """The folder of the Space `name`; `sound` is the template."""
    return TEMPLATE if name == "sound" else ROOT / "tests" / "selftest" / "spaces" / name


def added() -> Iterator[str]:
    """The Spaces that a user has added to compose.yaml."""
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    return (name for name in services if name not in OWN)


def copy_compose_files(folder: Path, *names: str) -> None:
    """Copy these compose files of the repository, with its own Spaces alone."""
    for name in names:
        shutil.copy(ROOT / name, folder / name)
    for space in added():
        command = [sys.executable, "-m", "preflight", "new", space, "--remove"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=30)
