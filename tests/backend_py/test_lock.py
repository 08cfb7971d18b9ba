"""The image must install what pyproject.toml requires."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "backend-py"
LOCKS = {
    "requirements.txt": [],
    "requirements-ingest.txt": ["ingest"],
    "requirements-test.txt": ["ingest", "test"],
}


@pytest.mark.parametrize("name", LOCKS)
def test_lock(name: str, tmp_path: Path) -> None:
    """Each lock must be what pyproject.toml resolves to, hashes included."""
    for file in ("pyproject.toml", name):
        shutil.copy(FOLDER / file, tmp_path)
    # uv prefers the versions in the existing lock, so a new release changes nothing.
    command = [
        *(sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "--output-file", name),
        *("--universal", "--python-version=3.11", "--generate-hashes", "--no-header"),
        *(f"--extra={extra}" for extra in LOCKS[name]),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / name).read_text() == (FOLDER / name).read_text(), (
        f"{name} is stale: make lock"
    )
