"""The harness and the Spaces must pass their linters, type checks and unit tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from preflight.engine.image import build
from preflight.engine.run import Run
from preflight.model.space import Space

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "tool",
    [["ruff", "check", "--no-cache"], ["ruff", "format", "--check", "--no-cache"], ["mypy"]],
    ids=["lint", "format", "types"],
)
def test_the_harness_is_clean(tool: list[str]) -> None:
    """Ruff and mypy must find nothing in the harness."""
    command = [sys.executable, "-m", *tool, "src", "tests", "loadtests"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{' '.join(tool)}:\n{done.stdout}{done.stderr}"


def test_the_public_workflows_are_valid() -> None:
    """Each workflow must be valid: GitHub never runs an invalid workflow."""
    workflows = sorted(map(str, (ROOT / ".github" / "workflows").glob("*.yml")))
    assert workflows
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.github-workflows",
    ]
    done = subprocess.run([*command, *workflows], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["backend-py", "backend-node"])
def test_a_space_passes_its_own_tests(name: str, run: Run, own_spaces: dict[str, Space]) -> None:
    """The `test` stage of each Dockerfile must build: unit tests, type check and linter of that Space."""
    build(run, name, own_spaces[name].folder, target="test")
