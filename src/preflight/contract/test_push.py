"""The push: the history and files that `git push` sends, and files that the build would miss."""

from __future__ import annotations

import pytest

from preflight.contract.findings import UNDECLARED, advise, not_promised, require_none, violated
from preflight.model.environment import EnvironmentDeclarationError
from preflight.model.git import Repository
from preflight.model.problems import Problem
from preflight.model.space import Space
from preflight.rules import repository as rules
from preflight.rules.dockerfile import Dockerfile


def test_files_are_small_enough(repository: Repository) -> None:
    """Every file over 10 MiB in the commits to be pushed is in LFS.

    Severity: breaks

    On the Hub: Your push was rejected because it contains files larger than 10 MiB. Offending
    files: …

    Fix: Run `git lfs migrate import --include=PATH`, or push an orphan branch. Deleting the file in a
    later commit does not remove it from the history.

    Source: hub-docs spaces-github-actions.md; the text was observed.
    """
    require_none(rules.large_blob_problems(repository.history))
    if repository.missing_history:
        advise("the whole history", repository.missing_history)


def test_binaries_are_in_lfs(repository: Repository) -> None:
    """Every binary file in the commits to be pushed is in LFS.

    Severity: risk

    On the Hub: `git push`: Your push was rejected because it contains binary files. Please use
    https://huggingface.co/docs/hub/xet to store binary files. `hf upload` stores them in Xet by itself

    Fix: Run `git lfs migrate import --include=PATH` with the rule in the folder's own .gitattributes,
    or create the file in the build. How the Hub recognises a binary file is not documented; like
    git, Preflight looks for a NUL in the first 8000 bytes.

    Source: the text of `git push` was observed; 7 of 89 observed Spaces contain raw binaries of up
    to 80 kB, which `hf upload` or an older Hub accepted.
    """
    require_none(rules.binary_problems(repository.history))


def test_repository_fits(repository: Repository) -> None:
    """The history to be pushed, including LFS, is smaller than the Hub's 1 GB for a Space.

    Severity: breaks

    On the Hub: Repository storage limit reached (Max: 1 GB)

    Fix: Keep models and data in a model or dataset repository and download them, or squash the
    history.

    Source: reported by users; the documentation does not name a limit for Spaces.
    """
    require_none(rules.size_problems(repository.history))
    if warning := rules.size_warning(repository.history):
        advise("room for the next version", warning)


def test_dotenv_is_not_committed(repository: Repository) -> None:
    """No commit to be pushed contains a `.env` file.

    Severity: risk

    On the Hub: everyone can read the keys in the Space's files and history; the keys count as leaked

    Fix: Add `.env` to .gitignore, and remove it from the history. Replace the keys, and enter the new
    ones as Secrets in the Space's settings.

    Source: hub-docs security-secrets.md.
    """
    require_none(rules.dotenv_problems(repository.history))
    if warning := rules.dotenv_warning(repository.history):
        advise("no `.env.*` in any commit to be pushed", warning)


def test_no_key_is_committed(repository: Repository) -> None:
    """No commit to be pushed contains text in the form of a key.

    Severity: risk

    On the Hub: an e-mail "secrets found in your repository"; the key is public until you replace it

    Fix: Replace the key, remove it from the history, and enter the new key as a Secret.

    Source: hub-docs security-secrets.md: TruffleHog scans each push, reports, and does not block.
    """
    require_none(rules.secret_problems(repository.history))


def test_lfs_content_is_there(space: Space) -> None:
    """The build gets the content of LFS files instead of their pointers.

    Severity: risk

    On the Hub: the app fails to parse a model or image that holds `version https://git-lfs…`

    Fix: Run `git lfs pull` before a check. Keep `filter=lfs` rules in the Space folder's own
    .gitattributes, since rules outside it are not pushed.

    Source: observed: the content of LFS files is available at build and run time.
    """
    require_none(rules.pointer_problems(space.folder, committed=space.ref is not None))


def test_dockerfile_is_at_the_root(space: Space) -> None:
    """The root of the pushed folder contains a file named `Dockerfile`.

    Severity: breaks

    On the Hub: `NO_APP_FILE`: the build fails at once, since it finds no Dockerfile

    Fix: Move it to the Space folder's root. No key of the front matter names another path.

    Source: OpenEnv's push command and users' reports.
    """
    names = {path.name for path in space.folder.iterdir()}
    if "Dockerfile" not in names:
        near = sorted(
            path.relative_to(space.folder).as_posix()
            for path in space.folder.glob("**/[Dd]ockerfile*")
            if ".git" not in path.parts and path.name != "Dockerfile.dockerignore"
        )
        violated(
            expected="Dockerfile at the folder's root",
            actual=f"there is none; similar: {', '.join(near[:3])}" if near else "there is none",
            fix=None
            if near
            else "Write one. `preflight new my-space` creates a Space that starts, to copy from.",
        )


def test_build_files_are_committed(
    space: Space, dockerfile: Dockerfile, committed: Repository | None
) -> None:
    """Every file that the Dockerfile copies from the folder is committed; uncommitted changes are
    advice.

    Severity: breaks

    On the Hub: Build error: COPY … not found; Job failed with exit code: 1

    Fix: Commit the file, or create it in a build stage. A push sends only committed files: a
    git-ignored `dist/` exists here, but not on the Hub. `--ref HEAD` checks the committed files.

    Source: hub-docs spaces-overview.md: each push is built from the committed files.
    """
    in_git = None if space.ref else committed
    if in_git and (changed := rules.dirty_files(in_git)):
        shown = ", ".join(changed[:5]) + (" …" if len(changed) > 5 else "")
        advise(
            "only committed changes in the folder",
            f"not committed, so not in a push: {shown}",
            "Commit it, or check the committed files with --ref HEAD.",
        )
    require_none(rules.build_source_problems(dockerfile, space.folder, in_git))
    if in_git and (ignored := rules.ignored_in_build(dockerfile, space.folder, in_git)):
        # Whether the Space needs them shows in files.commit_builds_and_serves.
        advise(
            "no git-ignored file in the image, since a push does not send it",
            f"{len(ignored)} here: {', '.join(ignored[:3])}",
            "List them in .dockerignore.",
        )


def test_names_do_not_collide(space: Space) -> None:
    """Each Variable and Secret is declared once.

    Severity: breaks

    On the Hub: Configuration error: Collision on variables and secrets names

    Fix: Declare the name either as a Variable or as a Secret.

    Source: the text is reported by users.
    """
    try:
        if space.declaration is None:
            not_promised(UNDECLARED)
    except EnvironmentDeclarationError as error:
        require_none(
            Problem("each name declared once", fault.message, file=error.source, line=fault.line)
            for fault in error.faults
            if fault.duplicate
        )


def test_name_fits_the_hub(
    space: Space, committed: Repository | None, pytestconfig: pytest.Config
) -> None:
    """The Hub accepts the Space's name, and its address is short enough.

    Severity: breaks

    On the Hub: the repository cannot be created

    Fix: Use letters, digits, `-`, `_` and `.`. The address is <owner>-<name> in lower case, with `-` for `.` and `_`.

    Source: huggingface_hub validates names by the same rule; observed: the Hub does not
    refuse a long name.
    """
    assert space.working_folder is not None
    remotes = committed.hub_remotes if committed else []
    name = space.working_folder.name
    named = [remote for remote in remotes if remote[1] == name]
    if not named and len(remotes) == 1 and committed and not committed.prefix:
        named = remotes
    if named:
        owner, name = named[0]
        require_none(rules.name_problems(name))
    else:
        # The folder's name is only a guess at the Space's name, so an invalid one is advice.
        owner = remotes[0][0] if remotes else ""
        for problem in rules.name_problems(name):
            advise(problem.expected, f"the folder's name, {problem.actual!r}")
            return
    owner = pytestconfig.getoption("--owner") or owner
    require_none(rules.subdomain_problems(owner, name) if owner else ())
