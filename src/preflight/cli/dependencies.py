"""Make the virtual environment of the harness from the hashed requirements.txt.

`preflight dependencies .venv`, from the folder of the checkout.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from preflight.engine.install import answers, can_install, fail, run_as_root, say

OLDEST_PYTHON = (3, 11)


def main(folder: Path) -> None:
    if sys.version_info < OLDEST_PYTHON:
        fail(
            f"Python {sys.version.split()[0]} is too old; 3.11 or newer is needed. Name a newer Python: make test PYTHON=python3.12"
        )
    python = folder / "bin" / "python"
    if answers([str(python), "-m", "pip", "--version"]) is None:
        make(folder)
    say("installing the harness's dependencies …")
    with tempfile.TemporaryDirectory() as scratch:
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        uv = [str(folder / "bin" / "uv"), "pip", "install", "--quiet", f"--python={python}"]
        only_uv = Path(scratch) / "requirements.txt"
        only_uv.write_text(locked("uv"))
        # pip takes four times as long, but also uses the package indexes of its own settings.
        problem = run([*pip, "--require-hashes", "-r", str(only_uv)])
        problem = problem or install([*uv, "--compile-bytecode"])
    if problem:
        say(f"uv can't install them, so pip does. It says: {problem.splitlines()[-1]}")
        problem = install(pip)
    if problem:
        fail(f"the harness's dependencies can't be installed:\n{problem[-1500:]}")
    (folder / "ready").touch()


def install(command: list[str]) -> str:
    """Install the locked requirements, then the harness from this folder; returns the error, or ""."""
    return run([*command, "--require-hashes", "-r", "requirements.txt"]) or run(
        [*command, "--no-deps", "--no-build-isolation", "--editable", "."]
    )


def run(command: list[str]) -> str:
    """The error output of a command; empty when it succeeded."""
    try:
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=900)
    except subprocess.TimeoutExpired as error:
        return f"it did not end within {error.timeout:.0f} s"
    except OSError as error:
        return str(error)
    return "" if done.returncode == 0 else done.stderr.strip() or f"exit code {done.returncode}"


def locked(package: str) -> str:
    """The entry of `package` in requirements.txt, with its hashes."""
    text = Path("requirements.txt").read_text()
    found = re.search(rf"^{package}==(.*\\\n)*.*\n", text, re.M)
    return found.group() if found else ""


def make(folder: Path) -> None:
    command = [sys.executable, "-m", "venv", "--clear", str(folder)]
    if subprocess.run(command, capture_output=True, timeout=120).returncode == 0:
        return
    # Debian and Ubuntu package venv separately.
    if can_install():
        run_as_root(["apt-get", "update", "-q"])
        run_as_root(["apt-get", "install", "-y", "-q", "--no-install-recommends", "python3-venv"])
        if subprocess.run(command, capture_output=True, timeout=120).returncode == 0:
            return
    fail(
        f"`{' '.join(command)}` fails; install Python's venv module (Debian, Ubuntu: apt install python3-venv)."
    )
