"""Push a Space's folder to its Space, once exactly that commit has passed the contract.

    preflight push FOLDER [--space OWNER/NAME] [--remote NAME_OR_URL] [--dry] [--force]
    preflight hooks              a git pre-push hook that judges pushes to Spaces by plain git
    preflight hook NAME URL      what that hook calls

What is pushed is the folder as committed, with the history of that folder alone: `git subtree
split` makes it, or it is HEAD itself where the folder is a repository of its own. That commit is
judged in a clone, so neither the working folder nor a git-ignored file can make a difference.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from preflight.cli.on_the_hub import (
    GIT_DEADLINE_S,
    Refused,
    SpaceId,
    git,
    git_environment,
    masked,
    settings_report,
)
from preflight.model.environment import EnvironmentDeclaration, EnvironmentDeclarationError
from preflight.model.space import SpaceError, spaces_of_compose
from preflight.pytest_plugin import CONTRACT, command
from preflight.rules.repository import GitError, Repository, dirty_files

PUSH_DEADLINE_S = 1800
CONTRACT_DEADLINE_S = 1800
# What a Space's repository holds when the Hub has made it; the README when that was on the web page.
# Source: huggingface_hub, `create_repo`; forum reports.
OF_THE_HUB = {".gitattributes", "README.md"}
# Names that say what a remote is where its address does not, like a bare repository for trying it.
SPACE_REMOTES = ("space", "hf", "huggingface")
# The commit that this command has judged: its own hook does not judge it again.
JUDGED = "PREFLIGHT_JUDGED"
# The contract in two parts: what the files alone tell, and what a running Space does. Isolation is
# judged for the Spaces of compose.yaml together.
OF_FILES = [f"{CONTRACT}/test_{part}.py" for part in ("metadata", "push", "declaration", "dockerfile")]  # fmt: skip
OF_A_CONTAINER = [str(CONTRACT), *(f"--ignore={path}" for path in (*OF_FILES, f"{CONTRACT}/test_isolation.py"))]  # fmt: skip
HOOK_MARK = "# preflight: judges what is pushed to a Space"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="preflight", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    actions = parser.add_subparsers(dest="action", required=True)
    push_options = actions.add_parser("push")
    push_options.add_argument("folder", type=Path)
    push_options.add_argument("--space", default="", help="owner/name on the Hub")
    push_options.add_argument("--remote", default="", help="another remote than the Space's own")
    push_options.add_argument("--dry", action="store_true", help="stop before the push")
    push_options.add_argument("--force", action="store_true", help="push what did not pass")
    actions.add_parser("hooks")
    hook_options = actions.add_parser("hook")
    hook_options.add_argument("name")
    hook_options.add_argument("url")
    options = parser.parse_args(arguments)
    try:
        if options.action == "hooks":
            return install_hook(Path.cwd())
        if options.action == "hook":
            return hook(Path.cwd(), options.name, options.url, sys.stdin.read().splitlines())
        space = SpaceId.of(options.space) if options.space else None
        return push(options.folder, space, options.remote, options.dry, options.force)
    except (Refused, GitError, SpaceError) as refusal:
        print(f"push: {masked(str(refusal))}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        return 130


def push(folder: Path, space: SpaceId | None, remote: str, dry: bool, force: bool) -> int:
    """Judge what would be pushed, then push it. Raises Refused or GitError."""
    if space is None and not remote:
        raise Refused("where to? write SPACE=owner/name, as in the Space's address")
    if not folder.is_dir():
        raise Refused(f"{folder} is no folder")
    target = remote or (space.remote if space else "")
    repository = repository_of(folder)
    changed = dirty_files(repository)
    if changed and not force:
        raise Refused(
            f"not committed in {folder}, so not in a push: {some(changed)}\n"
            "      commit it, or add it to .gitignore. FORCE=1 pushes what is committed."
        )
    commands, commit = commit_to_push(repository)
    head = remote_head(repository.root, target)
    if head == commit:
        print(f"{masked(target)} has {commit[:7]} already: nothing to push.")
        return 0
    commands.append(push_command(repository.root, target, commit, head))
    say(f"{folder.name} as committed is {commit[:7]}; judging it before it goes to {target}")
    passed = contract_holds(repository.root, commit, space, folder.name)
    tell_settings(repository.root, commit, space)
    if not passed and not force:
        raise Refused(
            f"{commit[:7]} did not pass the contract, so it is not pushed. Mend what is named above "
            "and commit it.\n      FORCE=1 pushes it all the same."
        )
    print("\n" + masked("\n".join(map(shlex.join, commands))), flush=True)
    if not passed or changed:
        why = "what did not pass" if not passed else f"without {some(changed)}"
        print(f"\nFORCE=1: PUSHING {why.upper() if not passed else why}.", flush=True)
    if dry:
        print("DRY=1: not pushed.")
        return 0 if passed else 1
    if not pushed(repository.root, commands[-1], commit):
        raise Refused(
            "the push was not accepted. What served before goes on serving, and the Space's page "
            "does not say so.\n      docs/troubleshooting.md has the Hub's texts, their causes and fixes."
        )
    if space:
        print(f"\npushed. Follow the build: make live SPACE={space}")
    return 0


def hook(top: Path, name: str, url: str, lines: list[str]) -> int:
    """git's pre-push hook: judge each commit that is to become a Space's main.

    lines: what git gives the hook, `<local ref> <local commit> <remote ref> <remote commit>` each.
    Returns 0 to let git push, 1 to stop it. Source: git's documentation, githooks, pre-push.
    """
    # git gives the address after `url.….insteadOf`; the name is the address as typed where none is set.
    space = SpaceId.of_remote(url) or SpaceId.of_remote(name)
    if space is None and not name.startswith(SPACE_REMOTES):
        return 0
    force = bool(os.environ.get("FORCE"))
    for line in lines:
        _, commit, remote_ref, _ = line.split()
        # The Hub builds main and nothing else; zeros delete a branch.
        if remote_ref != "refs/heads/main" or not commit.strip("0"):
            continue
        if commit == os.environ.get(JUDGED):
            continue
        for folder in folders_with(top, commit):
            if changed := dirty_files(repository_of(folder)):
                raise Refused(
                    f"not committed in {folder}: {some(changed)}\n      commit it, or: git push --no-verify"
                )
        say(f"{commit[:7]} is to go to {space or name}; judging it first")
        passed = contract_holds(top, commit, space, space.name if space else top.name)
        tell_settings(top, commit, space)
        if not passed and not force:
            raise Refused(
                f"{commit[:7]} did not pass the contract, so it is not pushed. "
                "FORCE=1, or git push --no-verify, pushes it all the same."
            )
        if not passed:
            print("\nFORCE=1: PUSHING WHAT DID NOT PASS.", flush=True)
    return 0


def install_hook(top: Path) -> int:
    """Write the pre-push hook; another's hook is left alone. Raises Refused, GitError."""
    path = top / git(top, "rev-parse", "--git-path", "hooks/pre-push")
    command = f"{shlex.quote(sys.executable)} -m preflight hook"
    if path.exists() and HOOK_MARK not in path.read_text(errors="replace"):
        raise Refused(
            f"there is a pre-push hook of another kind, which stays as it is: {path}\n"
            "      to have both, save what git gives it and let both read it, in that file:\n"
            '          given=$(cat)\n          echo "$given" | the-hook-that-is-there "$@" || exit 1\n'
            f'          echo "$given" | {command} "$@" || exit 1'
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"#!/bin/sh\n{HOOK_MARK}; `make hooks` wrote it. Without it once: git push --no-verify\n"
        f"test -x {shlex.quote(sys.executable)} || {{\n"
        '  echo "push: the checkout that judges pushes is gone. In the new one: make hooks" >&2\n'
        f'  exit 1\n}}\nexec {command} "$@"\n'
    )
    path.chmod(0o755)
    print(f"{path}: pushes to a Space are judged from now on, by plain git too.")
    return 0


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
    # `git subtree` wants no slash at the end, and the whole history can take it minutes.
    split = ["subtree", "split", "-q", f"--prefix={repository.prefix.rstrip('/')}", head]
    try:
        return [["git", *split]], git(repository.root, *split, deadline=15 * GIT_DEADLINE_S)
    except GitError as error:
        if "is not a git command" in str(error):
            raise Refused(
                "git has no `subtree` here; install it (Alpine, Fedora: the package git-subtree)"
            ) from None
        raise


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
            "      is the name right, does the Space exist (docs/deploy.md), is HF_TOKEN set or does "
            "git know your token?"
        ) from None


def push_command(top: Path, target: str, commit: str, head: str | None) -> list[str]:
    """The push that loses nobody's work. Raises Refused when there is none."""
    ordinary = ["git", "push", target, f"{commit}:refs/heads/main"]
    if head is None or is_ancestor(top, head, commit):
        return ordinary
    # Replaces exactly what was looked at, and nothing that came since.
    replacing = [*ordinary[:2], f"--force-with-lease=refs/heads/main:{head}", *ordinary[2:]]
    if set(git(top, "ls-tree", "-r", "--name-only", head).splitlines()) <= OF_THE_HUB:
        return replacing
    lost = git(top, "log", "--oneline", "--no-decorate", "-5", f"{commit}..{head}")
    raise Refused(
        f"{target} holds commits that are not in what you push:\n"
        + "\n".join(f"          {line}" for line in lost.splitlines())
        + "\n      to keep them, bring them in first (git subtree pull, or git pull); to replace them:\n"
        f"          {shlex.join(replacing)}"
    )


def pushed(top: Path, command: list[str], commit: str) -> bool:
    """Whether the remote took it. The hook of `make hooks` lets `commit` pass."""
    environment = git_environment(**{JUDGED: commit})
    try:
        done = subprocess.run(command, cwd=top, env=environment, timeout=PUSH_DEADLINE_S)
    except subprocess.TimeoutExpired:
        raise Refused(f"the push did not end within {PUSH_DEADLINE_S} s") from None
    return done.returncode == 0


def contract_holds(top: Path, commit: str, space: SpaceId | None, name: str) -> bool:
    """Whether a commit passes the contract as a Space's repository: build, start, questions and all.

    What the files alone tell comes first, so that a wrong README is told in seconds.
    """
    with clone_at(top, commit, space, name) as folder:
        target = [f"--space={folder}", f"--ref={commit}"]
        target += [f"--owner={space.owner}"] if space else []
        return all(
            judged([*checks, *target], Path("reports") / "push" / name / part)
            for part, checks in (("files", OF_FILES), ("container", OF_A_CONTAINER))
        )


def judged(arguments: list[str], report: Path) -> bool:
    """Whether these checks ran and hold. Their report goes to the folder `report`."""
    line = [
        *command([*arguments, "-q", "-rfE", "--no-header"], names_tests=True),
        *(f"--report-dir={report.resolve()}", f"--junitxml={report.resolve() / 'junit.xml'}"),
    ]
    try:
        done = subprocess.run(line, env=git_environment(), timeout=CONTRACT_DEADLINE_S)
    except subprocess.TimeoutExpired:
        print(f"the contract did not end within {CONTRACT_DEADLINE_S} s", file=sys.stderr)
        return False
    return done.returncode == 0


@contextmanager
def clone_at(top: Path, commit: str, space: SpaceId | None, name: str) -> Iterator[Path]:
    """A repository whose HEAD is `commit`, in a folder called like the Space, without files."""
    with tempfile.TemporaryDirectory(prefix="preflight-push-") as scratch:
        folder = Path(scratch) / (space.name if space else name)
        git(top, "clone", "--quiet", "--shared", "--no-checkout", str(top), str(folder))
        git(folder, "update-ref", "--no-deref", "HEAD", commit)
        if space:
            git(folder, "remote", "add", "space", f"https://huggingface.co/spaces/{space}")
        yield folder


def tell_settings(top: Path, commit: str, space: SpaceId | None) -> None:
    """Say which Variables and Secrets the Space lacks, by what the commit declares."""
    if space is None:
        return
    try:
        declaration = declared_in(top, commit)
    except EnvironmentDeclarationError:
        # The contract has said so.
        return
    print("\n" + "\n".join(settings_report(space, declaration)), flush=True)


def declared_in(top: Path, commit: str) -> EnvironmentDeclaration | None:
    """What `.env.example` of a commit declares. Raises EnvironmentDeclarationError."""
    try:
        return EnvironmentDeclaration.of_text(git(top, "show", f"{commit}:.env.example") + "\n")
    except GitError:
        return None


def folders_with(top: Path, commit: str) -> Iterator[Path]:
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


def is_ancestor(top: Path, older: str, newer: str) -> bool:
    return git(top, "rev-list", "--count", f"{newer}..{older}") == "0"


def some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["it said nothing"])[-1]


def say(message: str) -> None:
    print(f"push: {masked(message)}", flush=True)
