"""Targets must be found, distinguished, or refused with a clear error; no Space may be dropped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from preflight.cli.stack import Failed, services
from preflight.model.git import GitError, Repository
from preflight.model.space import SpaceError, space_of_folder, spaces_of_compose
from preflight.pytest_plugin.targets import _committed, _live, _named_apart
from preflight.rules.repository import subdomain

ROOT = Path(__file__).resolve().parents[2]
README = "---\ntitle: A\nsdk: docker\n---\n"


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *identity, "-C", str(folder), *arguments],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"GIT_CONFIG_GLOBAL": os.devnull},
    )
    return done.stdout.strip()


@pytest.fixture
def monorepo(tmp_path: Path) -> Path:
    """A repository with a Space in a subfolder, its path with spaces, and other files beside it."""
    top = tmp_path / "all my code"
    space = top / "the space"
    space.mkdir(parents=True)
    (top / "elsewhere.txt").write_text("not pushed\n")
    (top / "elsewhere.bin").write_bytes(b"\0" * 100)
    (space / "README.md").write_text(README)
    (space / "Dockerfile").write_text("FROM scratch\n")
    (space / ".gitattributes").write_text("notes.txt export-ignore\n")
    (space / "notes.txt").write_text("pushed all the same\n")
    git(top, "init", "-q", "-b", "main")
    git(top, "add", "-A")
    git(top, "commit", "-q", "-m", "one")
    return space


@pytest.mark.parametrize(
    ("readme", "found"),
    [
        (README, True),
        ("---\ntitle: A\nsdk: docker\n", True),  # never closed
        ("---\ntitle: A: b\nsdk: docker\n---\n", True),  # no YAML
        ("Hello\n---\nsdk: docker\n---\n", True),  # not at the top
        ("---\nemoji: x\ncolorFrom: red\n---\n", True),  # no sdk
        ("\ufeff---\nsdk: docker\n---\n", True),
        ("---\nlayout: page\n---\n", False),  # another tool's front matter
        ("# A worker\n\nNot a Space.\n", False),
    ],
)
def test_a_broken_readme_must_not_hide_a_space(tmp_path: Path, readme: str, found: bool) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "README.md").write_text(readme)
    (tmp_path / "compose.yaml").write_text(
        "services:\n  web:\n    build: ./web\n  db:\n    image: postgres:15\n"
    )
    names = [space.name for space in spaces_of_compose(tmp_path / "compose.yaml")]
    assert names == (["web"] if found else [])


def test_a_missing_build_context_must_be_an_error(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services:\n  web:\n    build: {context: ./gone}\n")
    with pytest.raises(SpaceError, match=r"service web builds \./gone"):
        spaces_of_compose(tmp_path / "compose.yaml")


def test_a_deleted_space_must_come_with_the_command_that_removes_its_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make check` and `make up` must lead on."""
    monkeypatch.chdir(tmp_path)
    Path("compose.yaml").write_text("services:\n  web:\n    build: ./gone\n")
    with pytest.raises(SpaceError, match="preflight new web --remove"):
        spaces_of_compose(Path("compose.yaml"))
    with pytest.raises(Failed, match="preflight new web --remove"):
        services({"services": {"web": {"build": {"context": f"{tmp_path}/gone"}}}})


def test_a_missing_folder_and_a_missing_file_must_be_distinguished(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="does not exist"):
        space_of_folder(tmp_path / "gone")
    (tmp_path / "Dockerfile").touch()
    with pytest.raises(SpaceError, match="is a file"):
        space_of_folder(tmp_path / "Dockerfile")


def test_folders_of_the_same_name_must_be_distinguished(tmp_path: Path) -> None:
    for parent in ("a", "b"):
        (tmp_path / parent / "web").mkdir(parents=True)
    spaces = [space_of_folder(tmp_path / parent / "web") for parent in ("a", "b")]
    assert [space.name for space in _named_apart(spaces)] == ["a/web", "b/web"]


def test_a_live_target_must_have_a_name_and_a_url() -> None:
    assert _live("web=https://a-b.hf.space/", []).url == "https://a-b.hf.space"
    for wrong in ("https://a-b.hf.space", "web", "web=", "=https://a-b.hf.space", "web=ftp://a"):
        with pytest.raises(SpaceError, match="write NAME=URL"):
            _live(wrong, [])


def test_an_export_must_equal_the_commit(monorepo: Path, tmp_path: Path) -> None:
    (monorepo / "README.md").write_text("changed and not committed\n")
    (monorepo / "forgotten.txt").write_text("x")
    space = _committed(space_of_folder(monorepo), "HEAD", tmp_path / "export")
    assert {path.name for path in space.folder.iterdir()} == {
        *("README.md", "Dockerfile", ".gitattributes", "notes.txt"),
    }
    assert space.front_matter.get("sdk") == "docker"
    assert git(monorepo, "status", "--porcelain", "-uno") == 'M "the space/README.md"'


def test_an_export_of_an_unknown_revision_must_be_an_error(monorepo: Path, tmp_path: Path) -> None:
    with pytest.raises(GitError, match="no such revision"):
        _committed(space_of_folder(monorepo), "v9", tmp_path / "export")


def test_an_export_outside_a_repository_must_be_an_error(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="not in a git repository"):
        _committed(space_of_folder(tmp_path), "HEAD", tmp_path / "export")


def test_the_history_must_be_that_of_the_subfolder_alone(monorepo: Path) -> None:
    (monorepo / "logo.png").write_bytes(b"\0PNG")
    git(monorepo, "add", "-A")
    git(monorepo, "commit", "-q", "-m", "two")
    (monorepo / "logo.png").unlink()
    git(monorepo, "commit", "-q", "-am", "three")
    repository = Repository.of_folder(monorepo)
    assert repository is not None
    assert {blob.path for blob in repository.history} == {
        *("README.md", "Dockerfile", ".gitattributes", "notes.txt", "logo.png"),
    }
    assert [blob.path for blob in repository.history if blob.binary] == ["logo.png"]
    assert "logo.png" not in repository.tracked


def test_a_worktree_must_work_like_any_repository(monorepo: Path, tmp_path: Path) -> None:
    git(monorepo, "worktree", "add", "-q", str(tmp_path / "tree"), "-b", "other")
    repository = Repository.of_folder(tmp_path / "tree" / "the space")
    assert repository is not None
    assert "Dockerfile" in repository.tracked


def test_a_shallow_clone_must_be_reported(monorepo: Path, tmp_path: Path) -> None:
    git(monorepo, "commit", "-q", "--allow-empty", "-m", "two")
    git(tmp_path, "clone", "-q", "--depth=1", monorepo.parent.as_uri(), str(tmp_path / "clone"))
    repository = Repository.of_folder(tmp_path / "clone" / "the space")
    assert repository is not None
    assert "the clone is shallow: 1 commits" in str(repository.missing_history)


def test_a_bare_repository_must_be_read_as_in_a_hook(monorepo: Path, tmp_path: Path) -> None:
    (monorepo / "logo.png").write_bytes(b"\0PNG")
    git(monorepo, "add", "-A")
    git(monorepo, "commit", "-q", "-m", "two")
    git(tmp_path, "clone", "-q", "--bare", str(monorepo.parent), str(tmp_path / "hub.git"))
    repository = Repository(tmp_path / "hub.git", "the space/", "main")
    assert "Dockerfile" in repository.tracked
    assert [blob.path for blob in repository.history if blob.binary] == ["logo.png"]


def test_a_folder_without_a_commit_must_have_no_repository(tmp_path: Path) -> None:
    assert Repository.of_folder(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert Repository.of_folder(tmp_path) is None


def test_the_subdomain_must_equal_that_of_the_hub() -> None:
    # Source: hub-docs spaces-embed.md and spaces-agents.md.
    assert subdomain("NimaBoscarino", "hotdog-gradio") == "nimaboscarino-hotdog-gradio"
    assert subdomain("microsoft", "TRELLIS.2") == "microsoft-trellis-2"


METADATA = "src/preflight/contract/test_metadata.py"


def run_contract(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        *(sys.executable, "-m", "pytest", *arguments),
        *("-p", "no:cacheprovider", f"--junitxml={folder / 'junit.xml'}"),
        *("--report-dir", str(folder)),
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_unknown_folder_ends_with_one_clear_line(tmp_path: Path) -> None:
    """An unknown folder must end with one clear line, even if pytest would use another folder as its root."""
    done = run_contract(tmp_path, "--space", str(tmp_path / "gone"))
    assert done.returncode == 2
    assert "does not exist; name the folder that holds the Dockerfile" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[dict[str, Any]]]:
    """The output and the report's records of two workers on two faulty folders."""
    top = tmp_path_factory.mktemp("judged")
    for name, readme in {
        "the space": "---\ntitle: Page\ndockerfile: x\n---\n",
        "big": "---\nsdk: docker\n" + "key: value\n" * 500_000 + "---\n",
    }.items():
        (top / name).mkdir()
        (top / name / "README.md").write_text(readme)
    spaces = "--space", str(top / "the space"), f"--space={top / 'big'}"
    done = run_contract(top, METADATA, *spaces, "-n2")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert "Traceback" not in done.stdout
    return done.stdout, json.loads((top / "preflight.json").read_text())["checks"]


def test_the_verdicts_of_all_workers_must_be_in_one_report(
    judged: tuple[str, list[dict[str, Any]]],
) -> None:
    output, records = judged
    own = [record for record in records if record["space"] == "the space"]
    failed = [record for record in own if record["fails"]]
    assert [record["id"] for record in failed] == ["metadata.sdk_is_docker"]
    assert failed[0]["findings"][0]["actual"] == "no `sdk`"
    for part in (
        "breaks   metadata.sdk_is_docker",
        "On the Hub    Configuration error",
        "Fix           Put",
    ):
        assert part in output
    assert (
        "the space: DOES NOT HOLD. 15 checks held, 2 found something (1 breaks, 1 advice), 1 not applicable."
        in output
    )
    assert "1 check skipped: asks huggingface.co: only with --online x1" in output


def test_an_enormous_readme_must_be_judged_in_time(
    judged: tuple[str, list[dict[str, Any]]],
) -> None:
    output, _ = judged
    assert "a front matter of at most 65536 bytes" in output


def test_a_check_without_its_three_parts_must_be_refused(tmp_path: Path) -> None:
    from preflight.contract.findings import Rule

    with pytest.raises(ValueError, match="Severity"):
        Rule.of_docstring("A rule.\n\nFix: that.")
    with pytest.raises(ValueError, match="states the rule"):
        Rule.of_docstring(None)


def test_generated_pages_are_current() -> None:
    """The generated pages must match the checks' docstrings, and no removed rule may have a page."""
    from preflight.pytest_plugin.reference import COMMAND, pages

    docs = ROOT / "docs"
    written = pages(docs)
    for path, text in written.items():
        assert path.is_file() and path.read_text(encoding="utf-8") == text, (
            f"{path} is stale: {COMMAND}"
        )
    assert set((docs / "rules").glob("*.md")) <= set(written), f"a rule is gone: {COMMAND}"
