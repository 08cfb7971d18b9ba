"""A start command in shell form must be reported where the shell stays PID 1, with a command that works."""

from __future__ import annotations

from pathlib import Path

import pytest

from preflight.model.problems import Problem
from preflight.rules.dockerfile import Dockerfile
from preflight.rules.dockerfile_steps import shell_form_problems


def problems(folder: Path, command: str) -> list[Problem]:
    (folder / "Dockerfile").write_text(f"FROM scratch\nCMD {command}\n")
    return list(shell_form_problems(Dockerfile.of_folder(folder)))


@pytest.mark.parametrize(
    ("command", "fix"),
    [
        ("python app.py", 'Write CMD ["python", "app.py"]'),
        ("python app.py --port $PORT", "Write CMD exec python app.py --port $PORT"),
        ("python app.py 2>&1", "Write CMD exec python app.py 2>&1"),
        ("./migrate && python app.py", "Write CMD ./migrate && exec python app.py"),
        ("./migrate; exec ./clean && python app.py", "Write CMD ./migrate; exec ./clean && exec python app.py"),
        ("redis-server & python app.py", "Start it in a script that ends with `exec` of the server: CMD [\"./start.sh\"]"),
    ],
)  # fmt: skip
def test_the_fix_must_be_a_command_that_works(tmp_path: Path, command: str, fix: str) -> None:
    """Exec form knows no operator, no redirection and no variable."""
    (found,) = problems(tmp_path, command)
    assert found.fix == fix


@pytest.mark.parametrize("command", ["exec python app.py", "./migrate && exec python app.py"])
def test_an_app_that_replaces_the_shell_must_hold(tmp_path: Path, command: str) -> None:
    assert not problems(tmp_path, command)
