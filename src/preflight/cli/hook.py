"""`preflight hook`: a git pre-push hook that checks what plain `git push` sends to a Space."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from preflight.cli import judging
from preflight.cli.hub import Refused, SpaceId, git
from preflight.cli.push import repository_of, say, some
from preflight.model.git import GitError, masked
from preflight.model.space import SpaceError, spaces_of_compose
from preflight.rules.repository import dirty_files

MARK = "# preflight: judges what is pushed to a Space"
# Prefixes of remote names that mean a Space when the address does not, such as a bare repository.
SPACE_REMOTES = ("space", "hf", "huggingface")


def install() -> int:
    """Write the pre-push hook of the repository in this folder; returns the exit code."""
    try:
        print(f"{_install(Path.cwd())}: from now on it checks each `git push` to a Space.")
    except (Refused, GitError) as refusal:
        print(f"hook: {masked(str(refusal))}", file=sys.stderr)
        return 1
    return 0


def run(name: str, url: str, lines: list[str]) -> int:
    """git's pre-push hook; returns 0 to let git push, 1 to stop it."""
    try:
        judge(Path.cwd(), name, url, lines)
    except (Refused, GitError, SpaceError) as refusal:
        print(f"push: {masked(str(refusal))}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def judge(top: Path, name: str, url: str, lines: list[str]) -> None:
    """Judge each commit that would become a Space's main.

    lines: git's input to the hook, `<local ref> <local commit> <remote ref> <remote commit>` each.
    Source: git's documentation, githooks, pre-push. Raises Refused for a commit that must not be pushed.
    """
    # git gives the address after `url.….insteadOf`; the name is the address as typed where none is set.
    space = SpaceId.of_remote(url) or SpaceId.of_remote(name)
    if space is None and not name.startswith(SPACE_REMOTES):
        return
    for line in lines:
        _, commit, remote_ref, _ = line.split()
        # The Hub builds main and nothing else; zeros delete a branch.
        if remote_ref != "refs/heads/main" or not commit.strip("0"):
            continue
        if commit == os.environ.get(judging.JUDGED):
            continue
        for folder in _folders_with(top, commit):
            if changed := dirty_files(repository_of(folder)):
                raise Refused(
                    f"not committed in {folder}: {some(changed)}\n      Commit it, or: git push --no-verify"
                )
        say(f"checking {commit[:7]} before it goes to {space or name}")
        findings = judging.findings_of(top, commit, space, space.name if space else top.name)
        if settings := judging.settings_of(top, commit, space):
            print(f"\n{settings}", flush=True)
        if findings:
            raise Refused(
                f"{commit[:7]} did not pass, so it is not pushed: {', '.join(findings)}.\n"
                "      git push --no-verify pushes it anyway."
            )


def _install(top: Path) -> Path:
    path = top / git(top, "rev-parse", "--git-path", "hooks/pre-push")
    command = f"{shlex.quote(sys.executable)} -m preflight hook run"
    if path.exists() and MARK not in path.read_text(errors="replace"):
        raise Refused(
            f"another pre-push hook exists and was not changed: {path}\n"
            "      To run both, save git's input and pass it to both, in that file:\n"
            '          given=$(cat)\n          echo "$given" | the-hook-that-is-there "$@" || exit 1\n'
            f'          echo "$given" | {command} "$@" || exit 1'
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"#!/bin/sh\n{MARK}; `preflight hook` wrote it. Without it once: git push --no-verify\n"
        f"test -x {shlex.quote(sys.executable)} || {{\n"
        '  echo "push: the Python that runs preflight is missing. Install preflight, then: preflight hook" >&2\n'
        f'  exit 1\n}}\nexec {command} "$@"\n'
    )
    path.chmod(0o755)
    return path


def _folders_with(top: Path, commit: str) -> Iterator[Path]:
    """Working folders whose committed files are exactly those of `commit`."""
    tree = git(top, "rev-parse", f"{commit}^{{tree}}")
    spaces = spaces_of_compose(top / "compose.yaml") if (top / "compose.yaml").is_file() else []
    for folder in (top, *(space.folder for space in spaces)):
        try:
            prefix = git(folder, "rev-parse", "--show-prefix").rstrip("/")
            if git(top, "rev-parse", f"HEAD:{prefix}") == tree:
                yield folder
        except GitError:
            continue
