"""The tree: the files that git pushes can differ from the files on this disk."""

from __future__ import annotations

from pathlib import Path

from preflight.contract.findings import require_none
from preflight.model.git import Repository
from preflight.model.space import Space
from preflight.rules import tree as rules
from preflight.rules.dockerfile import Dockerfile


def working(space: Space) -> Path:
    """The folder on this disk, even if a committed revision is checked."""
    assert space.working_folder is not None
    return space.working_folder


def test_scripts_are_executable(
    space: Space, dockerfile: Dockerfile, repository: Repository
) -> None:
    """A script that the image starts directly is executable in the commit, not only on this disk.

    Severity: breaks

    On the Hub: Runtime error, exec ./start.sh: permission denied

    Fix: Run `git update-index --chmod=+x SCRIPT`, then commit.

    Source: git-update-index(1), --chmod; git config core.fileMode is false on Windows and many mounts.
    """
    require_none(rules.mode_problems(dockerfile, repository, working(space)))


def test_scripts_have_unix_line_ends(
    space: Space, dockerfile: Dockerfile, repository: Repository
) -> None:
    """A script that the image starts has LF line ends in the commit, and .gitattributes keeps them at checkout.

    Severity: breaks

    On the Hub: exec ./start.sh: no such file or directory; env: 'bash\\r': No such file or directory

    Fix: Write `*.sh text eol=lf` into .gitattributes, run `git add --renormalize .`, and commit.

    Source: gitattributes(5), eol.
    """
    require_none(rules.line_end_problems(dockerfile, repository, working(space)))


def test_submodules_can_be_cloned(dockerfile: Dockerfile, repository: Repository) -> None:
    """Each submodule has an https:// address in .gitmodules.

    Severity: breaks

    On the Hub: the folder is empty: COPY finds no file, or the app lacks a module at its start

    Fix: Commit the files themselves, or add the submodule with its public address.

    Source: gitmodules(5); git-clone(1), --recurse-submodules.
    """
    require_none(rules.submodule_problems(dockerfile, repository))


def test_names_differ_by_more_than_case(repository: Repository) -> None:
    """No two committed names differ only in case.

    Severity: advice

    On the Hub: both files exist, but a checkout on macOS or Windows has only one: the test did not cover the other

    Fix: Remove the wrong file from the commit.

    Source: git-config(1), core.ignoreCase.
    """
    require_none(rules.case_problems(repository))


def test_links_stay_in_the_folder(repository: Repository) -> None:
    """Each symbolic link leads to a file in the same push.

    Severity: risk

    On the Hub: FileNotFoundError for a file that exists on this machine

    Fix: Commit the content instead of the link.

    Source: git stores a link's target as text; gitglossary(7), tree object.
    """
    require_none(rules.link_problems(repository))
