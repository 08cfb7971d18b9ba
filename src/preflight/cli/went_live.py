"""The commit that a Space served before a push: the one to go back to."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi, SpaceStage

from preflight.cli.hub import HUB_ERRORS, SpaceId, git
from preflight.model.git import GitError


def remember(top: Path, space: SpaceId) -> None:
    """Note which commit the Space serves now, as a ref of the repository at `top`.

    Writes nothing when the Hub does not report it, or when the repository lacks the commit.
    """
    try:
        runtime = HfApi().get_space_runtime(str(space))
        serving = runtime.raw.get("sha") if runtime.stage == SpaceStage.RUNNING else None
        if isinstance(serving, str):
            git(top, "update-ref", _ref(space), serving)
    except (*HUB_ERRORS, GitError):
        return


def before(top: Path, space: SpaceId, now: str) -> str | None:
    """The commit that was live before `now`; None when it is not known."""
    try:
        known = git(top, "rev-parse", "--verify", "--quiet", _ref(space))
    except GitError:
        return None
    return known if known != now else None


def _ref(space: SpaceId) -> str:
    return f"refs/preflight/live/{space}"
