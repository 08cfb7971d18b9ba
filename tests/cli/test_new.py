"""`preflight new` must add a Space with one command and remove it with another."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.spaces import ROOT

COMPOSE_FILES = ("compose.yaml", "compose.test.yaml", "compose.edge.yaml")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in COMPOSE_FILES:
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def new(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "preflight", "new", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize("options", [[], ["--node"]], ids=["python", "node"])
def test_a_space_must_come_with_its_services(checkout: Path, options: list[str]) -> None:
    done = new(checkout, "my-space", *options)

    assert done.returncode == 0, done.stderr
    assert "http://localhost:7863" in done.stdout
    assert (checkout / "my-space" / "Dockerfile").is_file()
    for differences in ([], ["compose.test.yaml"], ["compose.edge.yaml"]):
        files = [f"--file={name}" for name in ("compose.yaml", *differences)]
        command = ["docker", "compose", *files, "config", "--format", "json"]
        shown = subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=30)
        assert shown.returncode == 0, shown.stderr
        service = yaml.safe_load(shown.stdout)["services"]["my-space"]
        assert service["develop"]["watch"]
    assert "egress-my-space" in shown.stdout


def test_removing_must_leave_the_files_as_they_were(checkout: Path) -> None:
    before = {name: (checkout / name).read_text() for name in COMPOSE_FILES}
    assert new(checkout, "my-space").returncode == 0

    done = new(checkout, "my-space", "--remove")

    assert done.returncode == 0, done.stderr
    assert {name: (checkout / name).read_text() for name in COMPOSE_FILES} == before
    assert (checkout / "my-space").is_dir(), "what the user wrote stays"
    assert "my-space/ stays" in done.stdout


def test_without_compose_files_the_folder_alone_must_come(tmp_path: Path) -> None:
    done = new(tmp_path, "my-space")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["my-space"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["My-Space"], "lower case"),
        (["a--b"], "without `--`"),
        (["gone", "--remove"], "no compose file"),
    ],
)
def test_a_wrong_name_must_be_refused(checkout: Path, arguments: list[str], complaint: str) -> None:
    done = new(checkout, *arguments)
    assert done.returncode == 1 and complaint in done.stderr
    assert "Traceback" not in done.stderr
