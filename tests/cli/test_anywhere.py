"""The ways into other people's repositories: the Action, pre-commit, shell completion, agents."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.spaces import ROOT, folder_of

BIN = Path(sys.executable).parent


def run(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{BIN}:{os.environ['PATH']}"
    return subprocess.run(
        command, cwd=folder, env={**os.environ, "PATH": path, **environment},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A user's repository, with a Space in a subfolder."""
    shutil.copytree(folder_of("static_files"), tmp_path / "my-space")
    for command in (
        ("init", "-q", "--initial-branch=main"), ("add", "."),
        ("-c", "user.name=Ada", "-c", "user.email=ada@example.com", "commit", "-qm", "A Space"),
    ):  # fmt: skip
        assert run(tmp_path, "git", *command).returncode == 0
    return tmp_path


def test_the_action_must_fit_its_schema() -> None:
    done = run(ROOT, "check-jsonschema", "--builtin-schema", "vendor.github-actions", "action.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_zizmor_must_find_nothing() -> None:
    done = run(
        ROOT, "zizmor", "--offline", "--min-severity=medium", "action.yml", ".github", NO_COLOR="1"
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("colour", "expected"), [("gray", 0), ("darkgray", 1)])
def test_the_action_must_annotate_and_keep_its_report(
    repository: Path, tmp_path_factory: pytest.TempPathFactory, colour: str, expected: int
) -> None:
    """The step of action.yml must annotate findings and keep the report, as GitHub runs it."""
    readme = repository / "my-space" / "README.md"
    readme.write_text(
        re.sub("^colorFrom: .*$", f"colorFrom: {colour}", readme.read_text(), flags=re.M)
    )
    runner = tmp_path_factory.mktemp("runner")
    steps = yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"]
    (step,) = [step for step in steps if step.get("id") == "check"]
    given = {
        "SPACE": "my-space",
        "FAIL_ON": "",
        "PROFILE": "observed",
        "BROWSER": "false",
        "STATIC": "true",
    }
    assert set(given) | {"ACTION"} == set(step["env"])

    done = run(
        repository, "bash", "-c", step["run"], **given, ACTION=str(ROOT), RUNNER_TEMP=str(runner),
        GITHUB_OUTPUT=str(runner / "output"), GITHUB_STEP_SUMMARY=str(runner / "summary"),
        UV_CACHE_DIR=str(runner / "cache"),
    )  # fmt: skip

    assert done.returncode == expected, done.stdout + done.stderr
    report = Path((runner / "output").read_text().strip().removeprefix("report="))
    assert (report / "index.html").is_file() and (report / "preflight.sarif").is_file()
    line = "::error file=my-space/README.md,line="
    assert (line in done.stdout) == bool(expected), done.stdout
    assert "Preflight" in (runner / "summary").read_text()


@pytest.mark.parametrize(("colour", "expected"), [("gray", 0), ("darkgray", 1)])
def test_pre_commit_must_run_the_hook(
    repository: Path, tmp_path: Path, colour: str, expected: int
) -> None:
    """The real pre-commit must run the hook of this repository."""
    readme = repository / "my-space" / "README.md"
    readme.write_text(
        re.sub("^colorFrom: .*$", f"colorFrom: {colour}", readme.read_text(), flags=re.M)
    )
    (hook,) = [
        hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
        if hook["id"] == "preflight-static"
    ]  # fmt: skip
    # pre-commit installs from a commit; the working folder may have uncommitted changes.
    local = {
        **hook,
        "args": ["my-space"],
        "additional_dependencies": [f"preflight-for-spaces @ file://{ROOT}"],
    }
    config = {"repos": [{"repo": "local", "hooks": [local]}]}
    (repository / ".pre-commit-config.yaml").write_text(json.dumps(config))

    done = run(
        repository, "pre-commit", "run", "--all-files", PRE_COMMIT_HOME=str(tmp_path / "cache")
    )

    assert done.returncode == expected, done.stdout + done.stderr
    assert ("metadata.colours_are_known" in done.stdout) == bool(expected), done.stdout


@pytest.mark.parametrize("name", ["preflight", "hf-preflight", "preflight-for-spaces"])
def test_each_way_to_install_must_find_its_program(name: str) -> None:
    """`hf extensions` looks for `hf-preflight`, `uvx preflight-for-spaces` for the package's name."""
    done = run(ROOT, name, "--version")
    assert done.returncode == 0 and "version" in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_must_be_offered(shell: str) -> None:
    done = run(ROOT, "preflight", _PREFLIGHT_COMPLETE=f"{shell}_source")
    assert done.returncode == 0 and "_PREFLIGHT_COMPLETE" in done.stdout


def test_every_command_must_have_an_example() -> None:
    listed = run(ROOT, "preflight", "--help").stdout.partition("Commands:")[2]
    names = re.findall(r"^  (\w+)", listed, re.M)
    assert len(names) > 15
    for name in names:
        shown = run(ROOT, "preflight", name, "--help")
        assert shown.returncode == 0 and "Example: preflight" in shown.stdout, name


def test_the_skill_must_name_what_the_report_holds() -> None:
    """SKILL.md must name the JSON's fields: a stale name would mislead an agent."""
    schema = json.loads((ROOT / "docs" / "schema" / "preflight-1.json").read_text())
    text = (ROOT / "SKILL.md").read_text()
    fields = set(re.findall(r'"(\w+)"', json.dumps(schema)))
    for name in (
        "checks",
        "fails",
        "findings",
        "expected",
        "actual",
        "on_the_hub",
        "fix",
        "file",
        "line",
    ):
        assert f"`{name}`" in text and name in fields, name
