"""The files that a build takes: only those that a step needs must be asked for in the commit."""

from __future__ import annotations

from pathlib import Path

import pytest

from preflight.model.git import Repository
from preflight.rules.dockerfile import Dockerfile
from preflight.rules.repository import build_source_problems
from tests.unit.test_clones import repository


def copying(folder: Path, source: str) -> Path:
    """A repository whose only step copies `source`."""
    return repository(folder, Dockerfile=f"FROM scratch\nCOPY {source} /app/\n")


def not_committed(folder: Path) -> list[str]:
    problems = build_source_problems(
        Dockerfile.of_folder(folder), folder, Repository.of_folder(folder)
    )
    return [problem.actual for problem in problems]


@pytest.mark.parametrize("name", [".env.example", "notes.md", "tests/test_app.py", "LICENSE"])
def test_must_not_ask_for_a_file_that_no_step_needs(tmp_path: Path, name: str) -> None:
    """A build under `COPY . .` succeeds without these files."""
    folder = copying(tmp_path / "web", ".")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("KEY=\n")

    assert not_committed(folder) == []


def test_must_not_ask_for_the_files_of_another_clone(tmp_path: Path) -> None:
    """A user may keep a clone of this harness inside the repository."""
    folder = copying(tmp_path / "web", ".")
    repository(folder / "harness", main_py="", lib_py="")

    assert not_committed(folder) == []


def test_must_ask_for_code_that_a_wide_copy_takes(tmp_path: Path) -> None:
    folder = copying(tmp_path / "web", ".")
    (folder / "app.py").write_text("")

    assert not_committed(folder) == [".: not committed: app.py"]


def test_must_ask_for_a_file_that_a_step_names(tmp_path: Path) -> None:
    """A step that copies `.env.example` itself fails on the Hub without it."""
    folder = copying(tmp_path / "web", ".env.example")
    (folder / ".env.example").write_text("KEY=\n")

    assert not_committed(folder) == [".env.example: not committed: .env.example"]


@pytest.mark.parametrize(
    ("ignored", "said"),
    [
        ("", "App.py: no such file; there is app.py, and names are case-sensitive"),
        ("*.py\n", "App.py: no such file"),
    ],
)
def test_must_name_the_file_that_differs_in_case(tmp_path: Path, ignored: str, said: str) -> None:
    folder = copying(tmp_path / "web", "App.py")
    (folder / "app.py").write_text("")
    (folder / ".dockerignore").write_text(ignored)

    assert not_committed(folder) == [said]


def test_must_say_that_dockerignore_excludes_the_file(tmp_path: Path) -> None:
    """The file is there, so "no such file" would lead the user astray."""
    folder = copying(tmp_path / "web", "app.py")
    (folder / "app.py").write_text("")
    (folder / ".dockerignore").write_text("*.py\n")

    assert not_committed(folder) == ["app.py: excluded by .dockerignore"]
