"""What `git push` would send: the history, its files, and what the build would miss."""

from __future__ import annotations

import pytest

from preflight.contract.findings import advise, not_promised, report, require_none, violated
from preflight.model.environment import EnvironmentDeclarationError
from preflight.model.git import Repository
from preflight.model.problems import Problem, Severity
from preflight.model.space import Space
from preflight.rules import repository as rules
from preflight.rules.dockerfile import Dockerfile, DockerfileError

_repositories: dict[tuple[object, str | None], Repository | None] = {}


@pytest.fixture
def repository(space: Space) -> Repository:
    """The history that would be pushed."""
    found = repository_of(space)
    if found is None:
        pytest.skip("nothing of the folder is committed to a git repository: nothing to push yet")
    return found


def repository_of(space: Space) -> Repository | None:
    """What would be pushed, read once for all checks of a Space; None when nothing is committed."""
    _ = space.folder  # Skips where only a URL is known.
    assert space.working_folder is not None
    key = (space.working_folder, space.ref)
    if key not in _repositories:
        found = Repository.of_folder(space.working_folder, space.ref or "HEAD")
        _repositories[key] = found if found and found.tracked else None
    return _repositories[key]


def test_files_are_small_enough(repository: Repository) -> None:
    """No file over 10 MiB in any commit that would be pushed, unless it is in LFS.

    Severity: breaks

    On the Hub: Your push was rejected because it contains files larger than 10 MiB. Offending
    files: …

    Fix: `git lfs migrate import --include=PATH`, or push an orphan branch; deleting the file in a
    later commit does not take it out of the history.

    Source: hub-docs spaces-github-actions.md; the text was measured.
    """
    require_none(rules.large_blob_problems(repository.history))
    if repository.missing_history:
        advise("the whole history", repository.missing_history)


def test_binaries_are_in_lfs(repository: Repository) -> None:
    """No binary file outside LFS in any commit that would be pushed.

    Severity: risk

    On the Hub: `git push`: Your push was rejected because it contains binary files. Please use
    https://huggingface.co/docs/hub/xet to store binary files. `hf upload` stores them in Xet by itself

    Fix: `git lfs migrate import --include=PATH` with the rule in the folder's own .gitattributes,
    or make the file in the build. Which files the Hub takes for binary is not documented; this
    harness goes by a NUL in the first 8000 bytes, as git does.

    Source: the text of `git push` was measured; of 89 Spaces observed 7 hold raw binaries of up
    to 80 kB, which `hf upload` or an older Hub took.
    """
    require_none(rules.binary_problems(repository.history))


def test_repository_fits(repository: Repository) -> None:
    """The history to be pushed, LFS included, is below the Hub's 1 GB for a Space.

    Severity: breaks

    On the Hub: Repository storage limit reached (Max: 1 GB)

    Fix: Keep models and data in a model or dataset repository and download them, or squash the
    history.

    Source: reported by users; the documentation names no limit for Spaces.
    """
    require_none(rules.size_problems(repository.history))
    if warning := rules.size_warning(repository.history):
        advise("room for the next version", warning)


def test_dotenv_is_not_committed(repository: Repository) -> None:
    """No `.env` in any commit that would be pushed.

    Severity: risk

    On the Hub: everybody reads the keys in the Space's files and history; it must count as leaked

    Fix: Add `.env` to .gitignore, take it out of the history, replace the keys, and enter them as
    Secrets in the Space's settings.

    Source: hub-docs security-secrets.md.
    """
    require_none(rules.dotenv_problems(repository.history))
    if warning := rules.dotenv_warning(repository.history):
        advise("no `.env.*` in any commit to be pushed", warning)


def test_no_key_is_committed(repository: Repository) -> None:
    """Nothing that has the shape of a key in any commit that would be pushed.

    Severity: risk

    On the Hub: an e-mail "secrets found in your repository"; the key is public until replaced

    Fix: Replace the key, take it out of the history, and enter the new one as a Secret.

    Source: hub-docs security-secrets.md: TruffleHog scans each push, reports, and does not block.
    """
    require_none(rules.secret_problems(repository.history))


def test_lfs_content_is_there(space: Space) -> None:
    """The build gets the content of LFS files, not their pointers.

    Severity: risk

    On the Hub: the app fails to parse a model or image that holds `version https://git-lfs…`

    Fix: `git lfs pull` before a rehearsal; keep `filter=lfs` rules in the Space folder's own
    .gitattributes, since rules outside of it are not pushed.

    Source: observed: the content of LFS files is there at build and at run.
    """
    require_none(rules.pointer_problems(space.folder, committed=space.ref is not None))


def test_dockerfile_is_at_the_root(space: Space) -> None:
    """The Dockerfile lies at the root of what is pushed, in a file called `Dockerfile`.

    Severity: breaks

    On the Hub: the build fails at once, no Dockerfile is found; `NO_APP_FILE`

    Fix: Move it to the Space folder's root; no key of the front matter points elsewhere.

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
            actual=f"there is none; near: {', '.join(near[:3])}" if near else "there is none",
            fix=None
            if near
            else "Write one: `preflight new my-space` makes a Space that starts, to copy from.",
        )


def test_build_files_are_committed(space: Space) -> None:
    """Every file that the Dockerfile takes from the folder is committed; changes that are not are
    named as a warning.

    Severity: breaks

    On the Hub: Build error: COPY … not found; Job failed with exit code: 1

    Fix: Commit the file, or build it in a stage; a push sends committed files alone, so a
    git-ignored `dist/` that exists here does not exist there. `--ref HEAD` judges what is committed.

    Source: hub-docs spaces-overview.md: each push is built from what is committed.
    """
    try:
        dockerfile = Dockerfile.of_folder(space.folder)
    except (FileNotFoundError, DockerfileError):
        pytest.skip("needs a Dockerfile that can be read")
    in_git = None if space.ref else repository_of(space)
    if in_git and (changed := rules.dirty_files(in_git)):
        shown = ", ".join(changed[:5]) + (" …" if len(changed) > 5 else "")
        advise(
            "all that is judged is committed",
            f"not committed, so not in a push: {shown}",
            "Commit it; --ref HEAD judges what is committed.",
        )
    require_none(rules.build_source_problems(dockerfile, space.folder, in_git))
    if in_git and (ignored := rules.ignored_in_build(dockerfile, space.folder, in_git)):
        report(
            Problem(
                "no git-ignored file in the image, since a push does not send it",
                f"{len(ignored)} here: {', '.join(ignored[:3])}",
                "List them in .dockerignore.",
                severity=Severity.RISK,
            )
        )


def test_names_do_not_collide(space: Space) -> None:
    """Each Variable and Secret is declared once.

    Severity: breaks

    On the Hub: Configuration error: Collision on variables and secrets names

    Fix: Keep a name as a Variable or as a Secret, not both.

    Source: the text is reported by users.
    """
    try:
        if space.declaration is None:
            not_promised("there is no `.env.example`")
    except EnvironmentDeclarationError as error:
        require_none(
            Problem("each name declared once", fault.message, file=error.source, line=fault.line)
            for fault in error.faults
            if fault.duplicate
        )


def test_name_fits_the_hub(space: Space, pytestconfig: pytest.Config) -> None:
    """The Space's name is one that the Hub takes, and short enough to be its address.

    Severity: breaks

    On the Hub: the repository cannot be created

    Fix: Use letters, digits, `-`, `_` and `.`; the address is <owner>-<name> in lower case, `.` and `_` as `-`.

    Source: huggingface_hub validates names by the same rule; observed: a long name is not
    refused.
    """
    repository = repository_of(space)
    assert space.working_folder is not None
    remotes = repository.hub_remotes if repository else []
    name = space.working_folder.name
    named = [remote for remote in remotes if remote[1] == name]
    if not named and len(remotes) == 1 and repository and not repository.prefix:
        named = remotes
    if named:
        owner, name = named[0]
        require_none(rules.name_problems(name))
    else:
        # The folder's name is a guess at the Space's name, and the folder is not at fault for a bad one.
        owner = remotes[0][0] if remotes else ""
        for problem in rules.name_problems(name):
            advise(problem.expected, f"the folder's name, {problem.actual!r}")
            return
    owner = pytestconfig.getoption("--owner") or owner
    require_none(rules.subdomain_problems(owner, name) if owner else ())
