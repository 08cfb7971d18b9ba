"""Make the virtual environment of the harness from the hashed requirements.txt.

python3 setup/venv.py .venv
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from engine import answers, can_install, fail, run_as_root, say

OLDEST_PYTHON = (3, 11)


def main(folder: Path) -> None:
    if sys.version_info < OLDEST_PYTHON:
        fail(
            f"Python {sys.version.split()[0]} is too old, 3.11 or newer is needed. Name another one: make test PYTHON=python3.12"
        )
    python = folder / "bin" / "python"
    if answers([str(python), "-m", "pip", "--version"]) is None:
        make(folder)
    say("installing the harness's dependencies …")
    # Locked and hashed first; then the harness itself, from this folder.
    for what in (
        ["--require-hashes", "-r", "requirements.txt"],
        ["--no-deps", "--no-build-isolation", "--editable", "."],
    ):
        command = [
            str(python),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            *what,
        ]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=900)
        if done.returncode != 0:
            fail(f"`pip install {' '.join(what)}` failed:\n{done.stderr[-1500:]}")
    (folder / "ready").touch()


def make(folder: Path) -> None:
    command = [sys.executable, "-m", "venv", "--clear", str(folder)]
    if subprocess.run(command, capture_output=True, timeout=120).returncode == 0:
        return
    # Debian and Ubuntu ship venv apart from Python.
    if can_install():
        run_as_root(["apt-get", "update", "-q"])
        run_as_root(["apt-get", "install", "-y", "-q", "--no-install-recommends", "python3-venv"])
        if subprocess.run(command, capture_output=True, timeout=120).returncode == 0:
            return
    fail(
        f"`{' '.join(command)}` fails; install Python's venv module (Debian, Ubuntu: apt install python3-venv)."
    )


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
