"""`preflight rollback`: put an earlier commit of a Space's own history back at its head."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from preflight.cli.hub import HUB_ERRORS, Refused, SpaceId, git, said
from preflight.cli.push import NOT_ACCEPTED, is_ancestor, pushed, remote_head
from preflight.model.git import GitError, masked
from preflight.model.program import typed


def main(name: str, ref: str, remote: str, dry_run: bool) -> int:
    """Go back; returns the exit code."""
    try:
        return rollback(Path.cwd(), SpaceId.of(name), ref, remote, dry_run)
    except HUB_ERRORS as error:
        print(f"rollback: {said(error)}", file=sys.stderr, flush=True)
    except (Refused, GitError) as refusal:
        print(f"rollback: {masked(str(refusal))}", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        return 130
    return 1


def rollback(top: Path, space: SpaceId, ref: str, remote: str, dry_run: bool) -> int:
    """Make an earlier commit of the Space's own history its head again. Raises Refused, GitError."""
    target = remote or space.remote
    head = remote_head(top, target)
    if head is None:
        raise Refused(f"{target} has no main branch: there is nothing to go back from")
    try:
        commit = git(top, "rev-parse", "--verify", "--quiet", f"{ref or head + '~1'}^{{commit}}")
    except GitError:
        what = f"--ref {ref}: no such commit" if ref else "there is no earlier commit"
        raise Refused(f"{what}\n{history(top, head)}") from None
    if commit == head:
        print(f"{target} is at {head[:7]} already.")
        return 0
    if not is_ancestor(top, commit, head):
        raise Refused(
            f"{commit[:7]} is not in the history of {target}, which is:\n{history(top, head)}"
        )
    # Replaces exactly the inspected head, and fails when it has moved since.
    command = ["git", "push", f"--force-with-lease=refs/heads/main:{head}", target, f"{commit}:refs/heads/main"]  # fmt: skip
    print(f"from  {git(top, 'log', '-1', '--format=%h %s', head)}")
    print(f"to    {git(top, 'log', '-1', '--format=%h %s', commit)}")
    print(masked(shlex.join(command)), flush=True)
    if dry_run:
        print("--dry-run: not pushed.")
        return 0
    # Not judged again: going back must not take minutes.
    if not pushed(top, command, commit):
        raise Refused(NOT_ACCEPTED)
    print(
        f"\nrolled back. Follow the build: {typed(f'live {space}')}\n"
        "The next push restores the content of your branch: git revert the faulty commit there."
    )
    return 0


def history(top: Path, head: str) -> str:
    listed = git(top, "log", "--format=%h %s", "-10", head).splitlines()
    return "\n".join(f"          {line}" for line in listed)
