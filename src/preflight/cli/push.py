"""`preflight push`: push a Space's folder to its Space, once exactly that commit has passed.

A push sends the committed folder with its own history: the result of `git subtree split`, or HEAD
when the folder is the root of its repository. That commit is judged in a clone, so uncommitted
changes and git-ignored files have no influence.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click
from dotenv import dotenv_values

from preflight.cli import judging, went_live
from preflight.cli.hub import HUB_ERRORS, Refused, SpaceId, git, said, token_for_git
from preflight.cli.settings import Kind, SettingsReport, enter_missing
from preflight.model.git import GIT_DEADLINE, GitError, Repository, masked
from preflight.model.program import typed
from preflight.model.space import SpaceError
from preflight.rules.repository import dirty_files

PUSH_DEADLINE = 1800
# The files of a Space that the Hub has just created; the README only when created on the web page.
# Source: huggingface_hub, `create_repo`; forum reports.
OF_THE_HUB = {".gitattributes", "README.md"}
NOT_ACCEPTED = (
    "the push was not accepted. The Space goes on serving what it served; its page does not report "
    "this.\n      docs/troubleshooting.md has the Hub's messages, their causes and fixes."
)


@dataclass(frozen=True)
class Plan:
    """What to push, and where. space: OWNER/NAME, or empty when `remote` names the target."""

    folder: Path
    space: str = ""
    remote: str = ""
    dry_run: bool = False
    force: bool = False
    without_secrets: bool = False
    with_load: bool = False
    enter: bool = False


def main(plan: Plan) -> int:
    """Carry out the plan; returns the exit code."""
    try:
        return push(plan, SpaceId.of(plan.space) if plan.space else None)
    except (Refused, GitError, SpaceError) as refusal:
        print(f"push: {masked(str(refusal))}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        return 130


def push(plan: Plan, space: SpaceId | None) -> int:
    """Judge what would be pushed, then push it. Raises Refused or GitError."""
    if space is None and not plan.remote:
        raise Refused("no target: add --space OWNER/NAME, as in the Space's address")
    target = plan.remote or (space.remote if space else "")
    repository = repository_of(plan.folder)
    changed = dirty_files(repository)
    if changed and not plan.force:
        raise Refused(
            f"not committed in {plan.folder}, so not in a push: {some(changed)}\n"
            "      Commit it, or add it to .gitignore. --force pushes what is committed."
        )
    commands, commit = commit_to_push(repository)
    head = remote_head(repository.root, target)
    if head == commit:
        print(f"{masked(target)} has {commit[:7]} already: nothing to push.")
        return 0
    commands.append(push_command(repository.root, target, commit, head))
    settings = judging.settings_of(repository.root, commit, space)
    if plan.enter and space and settings and settings.missing and not plan.dry_run:
        _enter_missing(plan.folder, settings)
        settings = judging.settings_of(repository.root, commit, space)
    if settings and settings.missing and not plan.without_secrets:
        print(f"{settings}\n", flush=True)
        raise Refused(
            f"{space} lacks {', '.join(settings.missing)} and would not start.\n"
            "      Enter each in the Space's settings; --set enters them from .env or the shell.\n"
            "      --without-secrets pushes anyway."
        )
    say(f"{plan.folder.name} as committed is {commit[:7]}; judging it before it goes to {target}")
    findings = judging.findings_of(repository.root, commit, space, plan.folder.name)
    if plan.with_load and not findings:
        findings = judging.load_findings(repository.root, commit, space, plan.folder.name)
    if settings:
        print(f"\n{settings}", flush=True)
    if findings and not plan.force:
        raise Refused(
            f"{commit[:7]} did not pass, so it is not pushed. Fix what is named above and commit it.\n"
            "      --force pushes it anyway."
        )
    print("\n" + masked("\n".join(map(shlex.join, commands))), flush=True)
    if findings:
        print(f"\n--force: PUSHING WHAT DID NOT PASS: {', '.join(findings)}.", flush=True)
    elif changed:
        print(f"\n--force: pushing without {some(changed)}.", flush=True)
    if plan.dry_run:
        print("--dry-run: not pushed.")
        return 1 if findings else 0
    if space:
        went_live.remember(repository.root, space)
    if not pushed(repository.root, commands[-1], commit):
        raise Refused(NOT_ACCEPTED)
    if space:
        print(f"\npushed. Follow the build: {typed(f'live {space}')}")
    return 0


def _enter_missing(folder: Path, settings: SettingsReport) -> None:
    """Enter the missing names that `.env` or the shell holds, after the user has confirmed.

    Prints names only. Raises Refused when the Hub refuses.
    """
    values = {name: value for name, value in dotenv_values(folder / ".env").items() if value}
    values |= {name: os.environ[name] for name in settings.missing if os.environ.get(name)}
    known = [
        fault for fault in settings.faults if fault.name in values and fault.kind is Kind.MISSING
    ]
    if not known:
        raise Refused(
            f"--set: neither {folder}/.env nor the shell has {', '.join(settings.missing)}"
        )
    print(f"To be entered in the settings of {settings.space}:")
    for fault in known:
        print(f"  {fault.name} as a {'Secret' if fault.sensitive else 'Variable'}")
    if not click.confirm("Enter them?", default=False):
        raise Refused("--set: nothing was entered or pushed")
    try:
        entered = enter_missing(settings, values)
    except HUB_ERRORS as error:
        raise Refused(f"--set: {said(error)}") from None
    say(f"entered {', '.join(entered)}")


def repository_of(folder: Path) -> Repository:
    """The repository of a Space's folder, with all of its history. Raises Refused, GitError."""
    repository = Repository.of_folder(folder.resolve())
    if repository is None or not repository.tracked:
        raise Refused(f"nothing of {folder} is committed to a git repository; commit it first")
    if repository.missing_history:
        raise Refused(
            f"{repository.missing_history.partition(' (')[0]}.\n"
            "      get them first: git fetch --unshallow   (in CI: fetch-depth: 0)"
        )
    return repository


def commit_to_push(repository: Repository) -> tuple[list[list[str]], str]:
    """The commit that becomes the Space's main, and the commands that make it. Raises Refused."""
    head = git(repository.root, "rev-parse", "HEAD")
    if not repository.prefix:
        return [], head
    if not (Path(git(repository.root, "--exec-path")) / "git-subtree").exists():
        raise Refused(
            "git has no `subtree` here; install it (Alpine, Fedora: the package git-subtree)"
        )
    # `git subtree` takes a prefix without a final slash, and can take minutes for a long history.
    split = ["subtree", "split", "-q", f"--prefix={repository.prefix.rstrip('/')}", head]
    return [["git", *split]], git(repository.root, *split, deadline=15 * GIT_DEADLINE)


def remote_head(top: Path, target: str) -> str | None:
    """The commit at the remote's main, fetched; None for an empty repository. Raises Refused."""
    try:
        listed = git(top, "ls-remote", target, "refs/heads/main")
        if not listed:
            return None
        git(top, "fetch", "--quiet", "--no-tags", target, listed.split()[0])
        return listed.split()[0]
    except GitError as error:
        raise Refused(
            f"{target} cannot be read: {last_line(error)}\n"
            "      Is the name right? Does the Space exist (docs/deploy.md)? Is HF_TOKEN set, or does "
            "git know your token?"
        ) from None


def push_command(top: Path, target: str, commit: str, head: str | None) -> list[str]:
    """The push command that loses no commit. Raises Refused when each would lose one."""
    ordinary = ["git", "push", target, f"{commit}:refs/heads/main"]
    if head is None or is_ancestor(top, head, commit):
        return ordinary
    # Replaces exactly the inspected head, and fails when it has moved since.
    replacing = [*ordinary[:2], f"--force-with-lease=refs/heads/main:{head}", *ordinary[2:]]
    if set(git(top, "ls-tree", "-r", "--name-only", head).splitlines()) <= OF_THE_HUB:
        return replacing
    lost = git(top, "log", "--oneline", "--no-decorate", "-5", f"{commit}..{head}")
    raise Refused(
        f"{target} holds commits that are not in what you push:\n"
        + "\n".join(f"          {line}" for line in lost.splitlines())
        + "\n      to keep them, merge them first (git subtree pull, or git pull); to replace them:\n"
        f"          {shlex.join(replacing)}"
    )


def pushed(top: Path, command: list[str], commit: str) -> bool:
    """Whether the remote accepted the push. Our pre-push hook lets `commit` pass."""
    environment = {**os.environ, **token_for_git(), judging.JUDGED: commit}
    try:
        done = subprocess.run(command, cwd=top, env=environment, timeout=PUSH_DEADLINE)
    except subprocess.TimeoutExpired:
        raise Refused(f"the push did not end within {PUSH_DEADLINE} s") from None
    return done.returncode == 0


def is_ancestor(top: Path, older: str, newer: str) -> bool:
    """Whether `newer` contains every commit of `older`."""
    return git(top, "rev-list", "--count", f"{newer}..{older}") == "0"


def some(names: list[str]) -> str:
    """The first five names, and how many more there are."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def last_line(error: Exception) -> str:
    """The last line of an error's message."""
    return (str(error).strip().splitlines() or ["no message"])[-1]


def say(message: str) -> None:
    """One line of progress."""
    print(f"push: {masked(message)}", flush=True)
