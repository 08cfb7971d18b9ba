"""Judge a commit as the Space's repository would hold it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from preflight.cli.hub import SpaceId, git, token_for_git
from preflight.cli.settings import SettingsReport, compare
from preflight.model.environment import EnvironmentDeclaration, EnvironmentDeclarationError
from preflight.model.git import GitError
from preflight.pytest_plugin import CONTRACT, STATIC, command
from preflight.pytest_plugin.folders import in_the_cache

# The commit that has passed already: the pre-push hook does not judge it again.
JUDGED = "PREFLIGHT_JUDGED"
CONTRACT_DEADLINE = 1800
# The contract in two parts: checks of the files, and checks of a running Space.
OF_FILES = [f"{CONTRACT}/test_{part}.py" for part in STATIC]
OF_A_CONTAINER = [str(CONTRACT), *(f"--ignore={path}" for path in OF_FILES)]


def findings_of(top: Path, commit: str, space: SpaceId | None, name: str) -> list[str]:
    """The rules that a commit breaks, judged as a Space's repository; empty when it passes.

    The files come first, so that a wrong README is reported in seconds.
    """
    reports = in_the_cache(top) / "push" / name
    with clone_at(top, commit, space, name) as folder:
        target = [f"--space={folder}", f"--ref={commit}"]
        target += [f"--owner={space.owner}"] if space else []
        for part, checks in (("files", OF_FILES), ("container", OF_A_CONTAINER)):
            if not holds([*checks, *target], reports / part):
                return broken_rules(reports / part)
    return []


def load_findings(top: Path, commit: str, space: SpaceId | None, name: str) -> list[str]:
    """The finding of a load run on a commit; empty when the run held."""
    from preflight.load.command import smoke

    with clone_at(top, commit, space, name) as folder:
        git(folder, "checkout", "--quiet", "--force", commit)
        code = smoke(folder, in_the_cache(top) / "push" / name / "load")
    return {0: [], 1: ["load: crossed"]}.get(code, ["load: could not be judged"])


def holds(arguments: list[str], report: Path) -> bool:
    """Whether these checks ran and hold. Their report goes to the folder `report`."""
    report.mkdir(parents=True, exist_ok=True)
    (report / "preflight.json").unlink(missing_ok=True)
    line = [
        *command([*arguments, "-q", "--no-header"], names_tests=True),
        f"--report-dir={report}",
    ]
    environment = {**os.environ, **token_for_git()}
    try:
        done = subprocess.run(line, env=environment, timeout=CONTRACT_DEADLINE)
    except subprocess.TimeoutExpired:
        print(f"the contract did not end within {CONTRACT_DEADLINE} s", file=sys.stderr)
        return False
    return done.returncode == 0


def broken_rules(report: Path) -> list[str]:
    """The failed rules of a report; never empty, because the run did not hold."""
    path = report / "preflight.json"
    checks = json.loads(path.read_text("utf-8"))["checks"] if path.is_file() else []
    failed = [check["id"] for check in checks if check["fails"] or check["outcome"] == "error"]
    return list(dict.fromkeys(failed)) or ["the contract could not be judged"]


@contextmanager
def clone_at(top: Path, commit: str, space: SpaceId | None, name: str) -> Iterator[Path]:
    """A repository whose HEAD is `commit`, in a folder of the Space's name, without files."""
    with tempfile.TemporaryDirectory(prefix="preflight-push-") as scratch:
        folder = Path(scratch) / (space.name if space else name)
        git(top, "clone", "--quiet", "--shared", "--no-checkout", str(top), str(folder))
        git(folder, "update-ref", "--no-deref", "HEAD", commit)
        if space:
            git(folder, "remote", "add", "space", f"https://huggingface.co/spaces/{space}")
        yield folder


def settings_of(top: Path, commit: str, space: SpaceId | None) -> SettingsReport | None:
    """The Space's Variables and Secrets, compared with the commit's declaration.

    None without a Space, or when the declaration can't be read: the contract reports that.
    """
    if space is None:
        return None
    try:
        return compare(space, declared_in(top, commit))
    except EnvironmentDeclarationError:
        return None


def declared_in(top: Path, commit: str) -> EnvironmentDeclaration | None:
    """What `.env.example` of a commit declares. Raises EnvironmentDeclarationError."""
    try:
        return EnvironmentDeclaration.of_text(git(top, "show", f"{commit}:.env.example") + "\n")
    except GitError:
        return None
