"""`preflight new` must add a Space with one command and remove it with another."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.cli.desk import Desk
from tests.cli.documents import typed
from tests.spaces import ROOT, copy_compose_files

COMPOSE_FILES = ("compose.yaml", "compose.test.yaml", "compose.edge.yaml")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    copy_compose_files(tmp_path, *COMPOSE_FILES)
    return tmp_path


def new(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "preflight", "new", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize(("options", "base"), [([], "python"), (["--node"], "node")])
def test_a_space_must_come_with_its_services(checkout: Path, options: list[str], base: str) -> None:
    done = new(checkout, "my-space", *options)

    assert done.returncode == 0, done.stderr
    assert "http://localhost:7863" in done.stdout
    assert f"FROM {base}:" in (checkout / "my-space" / "Dockerfile").read_text()
    for differences in ([], ["compose.test.yaml"], ["compose.edge.yaml"]):
        files = [f"--file={name}" for name in ("compose.yaml", *differences)]
        command = ["docker", "compose", *files, "config", "--format", "json"]
        shown = subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=30)
        assert shown.returncode == 0, shown.stderr
        service = yaml.safe_load(shown.stdout)["services"]["my-space"]
        (watched,) = service["develop"]["watch"]
        assert Path(watched["path"]).is_file()
    services = yaml.safe_load(shown.stdout)["services"]
    assert services["my-space"]["network_mode"] == "service:egress-my-space"
    shared = services["edge"]["networks"].keys() & services["egress-my-space"]["networks"].keys()
    assert shared == {"my-space"}, "the edge can't reach the Space"


@pytest.mark.parametrize(
    ("given", "option"), [([], ""), (["NODE=1"], " --node"), (["REMOVE=1"], " --remove")]
)
def test_make_must_pass_each_choice_on(given: list[str], option: str) -> None:
    # Inside `make test`, make would print the directories that it enters and leaves.
    command = ["make", "--no-print-directory", "--dry-run", "space", "NAME=my-space", *given]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert " ".join(done.stdout.splitlines()[-1].split()).endswith(f'new "my-space"{option}')


def test_removing_must_leave_the_files_as_they_were(checkout: Path) -> None:
    before = {name: (checkout / name).read_text() for name in COMPOSE_FILES}
    assert new(checkout, "my-space").returncode == 0

    done = new(checkout, *typed("preflight new my-space --remove").split()[2:])

    assert done.returncode == 0, done.stderr
    assert {name: (checkout / name).read_text() for name in COMPOSE_FILES} == before
    assert (checkout / "my-space").is_dir(), "what the user wrote stays"
    assert "my-space/ stays" in done.stdout


def test_the_repositorys_own_tests_must_hold_with_it(desk: Desk) -> None:
    """A user's Space, whatever its words and its declaration, must not turn a test of the others red."""
    assert desk.run("new", "backend-go")[0] == 0
    space = desk.clone / "backend-go"
    (space / ".env.example").unlink()
    word = (desk.clone / "docs" / "style-words.txt").read_text().partition("->")[0]
    with (space / "README.md").open("a") as readme:
        readme.write(f"A {word} types `preflight nothing`.\n")

    files = [
        "unit/test_compose.py",
        "unit/test_language.py",
        "cli/test_documented.py",
        "cli/test_new.py",
    ]
    command = [sys.executable, "-m", "pytest", "-q", "-k", "not own_tests", *files]
    done = subprocess.run(
        command, cwd=desk.clone / "tests", env=desk.environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout


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
