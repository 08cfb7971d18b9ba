"""The contract itself: each broken Space fails in the check that is named and in no other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from selftest.cases import BROKEN, SOUND, Broken

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FOLDER_CHECKS = [
    f"tests/contract/test_{name}.py" for name in ("metadata", "push", "declaration", "dockerfile")
]
TIMEOUT_S = 300

Records = dict[str, list[dict[str, Any]]]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "broken" in metafunc.fixturenames:
        cases = _chosen(metafunc.config)
        metafunc.parametrize("broken", cases, ids=[case.id for case in cases])


def _chosen(config: pytest.Config) -> list[Broken]:
    everything = config.getoption("--selftest") == "all"
    return [case for case in BROKEN if case.needs == "folder" and (everything or case.sample)]


@pytest.fixture(scope="module")
def records(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Records:
    """The contract's verdicts on every Space of this selection, from one run of pytest."""
    top = tmp_path_factory.mktemp("spaces")
    cases = [Broken(name, "", base=name) for name in SOUND] + _chosen(pytestconfig)
    folders = [make(case, top / case.id) for case in cases]
    return judge(folders, top)


def make(case: Broken, folder: Path) -> Path:
    """The case's Space, as a git repository of its own."""
    shutil.copytree(HERE / "spaces" / case.base, folder)
    git(folder, "init", "--quiet", "--initial-branch=main")
    if case.earlier:
        write(folder, case.earlier)
        commit(folder, "Files that are taken out again")
        for name in case.earlier:
            (folder / name).unlink()
    for name, replacements in case.edit.items():
        text = (folder / name).read_text(encoding="utf-8")
        for old, new in replacements:
            assert old in text, f"{case.id}: {name} has no {old!r} to change"
            text = text.replace(old, new)
        (folder / name).write_text(text, encoding="utf-8")
    write(folder, case.files)
    commit(folder, "The Space")
    for command in case.git:
        git(folder, *command)
    write(folder, case.uncommitted)
    return folder


def write(folder: Path, files: dict[str, Any]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)


def commit(folder: Path, message: str) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", f"--message={message}")


def git(folder: Path, *arguments: str) -> None:
    who = {
        f"GIT_{role}_{part}": "selftest@example.com"
        for role in ("AUTHOR", "COMMITTER")
        for part in ("NAME", "EMAIL")
    }
    # The configuration of whoever runs this (signing, hooks, LFS filters) must not decide.
    alone = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    subprocess.run(
        ["git", "-C", str(folder), *arguments],
        check=True,
        capture_output=True,
        timeout=60,
        env=os.environ | who | alone,
    )


def judge(folders: list[Path], reports: Path) -> Records:
    """Run the contract's folder checks over the Spaces; the records of each, by its name."""
    spaces = [f"--space={folder}" for folder in folders]
    command = [
        *(sys.executable, "-m", "pytest", *FOLDER_CHECKS, *spaces, f"--report-dir={reports}"),
        *("-q", "--tb=no", "-p", "no:cacheprovider", "-o", "addopts=--import-mode=importlib"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED), (
        f"the contract did not run:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    )
    records: Records = {}
    for record in json.loads((reports / "preflight.json").read_text(encoding="utf-8")):
        records.setdefault(record["space"], []).append(record)
    return records


def failed(records: list[dict[str, Any]]) -> dict[str, str]:
    return {
        one["id"]: one["actual"]
        for one in records
        if not one["passed"] and one["outcome"] != "skipped"
    }


def test_broken_space_fails_in_its_check_alone(broken: Broken, records: Records) -> None:
    """The named check must fail on a broken Space, and every other must pass or be skipped."""
    found = failed(records[broken.id])
    assert set(found) == {broken.fails}, f"failed: {json.dumps(found, indent=1)}"


@pytest.mark.parametrize("name", SOUND)
def test_sound_space_passes_without_a_finding(name: str, records: Records) -> None:
    """A sound Space must pass with no failure and no warning, whatever it promises."""
    assert failed(records[name]) == {}
    assert [text for one in records[name] for text in one["warnings"]] == []


def test_every_check_of_the_folder_has_a_broken_space(records: Records) -> None:
    """A check that no broken Space fails may well be one that cannot fail."""
    asks_the_hub = {"metadata.hub_accepts_the_metadata"}
    checks = {one["id"] for one in records["sound"]} - asks_the_hub
    assert checks - {case.fails for case in BROKEN} == set()
