"""The installed package must judge a Space as the checkout does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.spaces import ROOT, folder_of

UV = Path(sys.executable).with_name("uv")
# The budget for the package with its dependencies, from an empty cache.
INSTALL_SECONDS = 15
INSTALL_BYTES = 60 * 1024**2


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an environment with the wheel and its dependencies alone."""
    top = tmp_path_factory.mktemp("wheel")
    uv(top, "build", "--quiet", "--wheel", f"--out-dir={top}", str(ROOT))
    (wheel,) = top.glob("*.whl")
    uv(top, "venv", "--quiet", "environment")
    python = top / "environment" / "bin" / "python"
    started = time.monotonic()
    uv(
        top,
        "pip",
        "install",
        "--quiet",
        f"--python={python}",
        f"--cache-dir={top}/cache",
        str(wheel),
    )
    seconds = time.monotonic() - started
    size = sum(path.stat().st_size for path in (top / "environment").rglob("*") if path.is_file())
    print(f"\ninstalled in {seconds:.1f} s, {size / 1024**2:.0f} MB")
    assert size <= INSTALL_BYTES
    assert seconds <= INSTALL_SECONDS * max(1, os.getloadavg()[0] / (os.cpu_count() or 1))
    return python.parent


def uv(folder: Path, *arguments: str) -> None:
    done = subprocess.run([UV, *arguments], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three Spaces in a folder without the harness."""
    top = tmp_path_factory.mktemp("elsewhere")
    for name in ("holds", "colours", "exits"):
        shutil.copytree(folder_of("static_files"), top / name)
    edit(top / "colours" / "README.md", "colorFrom: ", "colorFrom: dark")
    edit(
        top / "exits" / "Dockerfile",
        '["python", "-m", "http.server"',
        '["python", "-m", "no_such_module"',
    )
    return top


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, f"{path} no longer holds {old!r}"
    path.write_text(text.replace(old, new))


Verdicts = dict[str, tuple[str, list[str]]]


@pytest.fixture(scope="module")
def verdicts(
    installed: Path, folders: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Verdicts]:
    """Of each way to judge the Spaces: the verdict on each one, and the rules that it breaks."""
    names = [folder.name for folder in sorted(folders.iterdir())]
    ways = {
        "the checkout": [sys.executable, "-m", "preflight", "check", *names],
        "the wheel": [str(installed / "preflight"), "check", *names],
        "pytest": [str(installed / "pytest"), *(f"--space={name}" for name in names)],
    }

    def judged(command: list[str]) -> Verdicts:
        reports = tmp_path_factory.mktemp("report")
        done = subprocess.run(
            [*command, f"--report-dir={reports}"],
            cwd=folders,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert (reports / "preflight.json").is_file(), done.stdout[-3000:] + done.stderr[-3000:]
        assert done.returncode == 1, "a Space with a fault is among them"
        document = json.loads((reports / "preflight.json").read_text())
        failed = [(check["space"], check["id"]) for check in document["checks"] if check["fails"]]
        return {
            space["name"]: (
                space["verdict"],
                sorted(rule for name, rule in failed if name == space["name"]),
            )
            for space in document["spaces"]
        }

    return {way: judged(command) for way, command in ways.items()}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("holds", None), ("colours", "metadata.colours_are_known"), ("exits", "start.serves")],
)
def test_the_wheel_must_judge_as_the_checkout(
    name: str, expected: str | None, verdicts: dict[str, Verdicts]
) -> None:
    """`preflight check DIR` and `pytest --space DIR` must give the same verdict in another project's folder."""
    here, there, by_pytest = (of[name] for of in verdicts.values())
    assert here == there == by_pytest
    assert here[0] == ("findings" if expected else "held")
    assert expected is None or expected in here[1]


def test_a_run_of_the_folders_own_tests_must_stay_as_it_was(
    installed: Path, tmp_path: Path
) -> None:
    """The package must add options to pytest, and change nothing if no Space is named."""
    (tmp_path / "test_own.py").write_text("def test_own():\n    pass\n")
    done = subprocess.run(
        [installed / "pytest"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and "1 passed" in done.stdout
    assert "preflight" not in done.stdout.replace(str(tmp_path), "").partition("plugins:")[0]
    left = {path.name for path in tmp_path.iterdir()} - {
        "test_own.py",
        "__pycache__",
        ".pytest_cache",
    }
    assert not left, "files of the harness in another project's folder"


def test_the_folders_own_settings_must_not_matter(
    installed: Path, folders: Path, tmp_path: Path
) -> None:
    """A Space's pytest settings and conftest must not affect the contract."""
    space = folders / "holds"
    (space / "pyproject.toml").write_text(
        '[tool.pytest.ini_options]\naddopts = "--no-such-option"\n'
    )
    (space / "conftest.py").write_text("raise RuntimeError('belongs to other tests')\n")
    try:
        done = subprocess.run(
            [installed / "pytest", "--space", ".", f"--report-dir={tmp_path}", "-k", "metadata"],
            cwd=space, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    finally:
        (space / "pyproject.toml").unlink()
        (space / "conftest.py").unlink()
    assert done.returncode == 0, done.stdout + done.stderr
