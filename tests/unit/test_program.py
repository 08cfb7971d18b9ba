"""A command that the program prints must work in the shell of its reader."""

from __future__ import annotations

from pathlib import Path

import pytest

from preflight.model import program


@pytest.fixture(autouse=True)
def without_the_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A shell in another folder, whose virtual environment is not activated."""
    monkeypatch.setenv("PATH", "/no/programs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["-m"])


def installed(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "preflight").touch(mode=0o755)


def test_an_installed_program_must_go_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(Path("bin"))
    monkeypatch.setenv("PATH", "bin")
    assert program.typed("live me/mine") == "preflight live me/mine"


@pytest.mark.parametrize("started", ["preflight", "pytest"])
def test_a_program_that_was_started_by_its_path_must_go_by_it(
    started: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(Path("own/bin"))
    monkeypatch.setattr("sys.argv", [f"own/bin/{started}"])
    assert program.typed("live me/mine") == "own/bin/preflight live me/mine"


def test_a_checkout_must_name_its_virtual_environment() -> None:
    """`make up` starts the program by its module."""
    installed(Path(".venv/bin"))
    assert program.typed("check .") == ".venv/bin/preflight check ."


def test_without_a_program_its_name_must_remain() -> None:
    assert program.typed("check .") == "preflight check ."


def test_each_command_of_a_fix_must_be_replaced() -> None:
    installed(Path(".venv/bin"))
    fix = "Run `preflight init DIR`, then `preflight check DIR`; a preflight request stays."
    assert program.runnable(fix) == (
        "Run `.venv/bin/preflight init DIR`, then `.venv/bin/preflight check DIR`; a preflight request stays."
    )
