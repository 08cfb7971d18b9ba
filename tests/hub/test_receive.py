"""A Hub in a box must accept or refuse a push by the contract's rules, in the Hub's words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from preflight.local_hub.box import HubInABox

from .conftest import Clone

README = """---
title: A page
sdk: docker
{line}
---
"""
YAML = "remote: Sorry, your push was rejected during YAML metadata verification:"
LARGE = "remote: Your push was rejected because it contains files larger than 10 MiB."
BINARY = "remote: Your push was rejected because it contains binary files."
PICTURE = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"


def front_matter(line: str) -> Callable[[Clone], object]:
    return lambda clone: clone.commit({"README.md": README.format(line=line)})


def add_and_delete(clone: Clone) -> None:
    clone.commit({"model.txt": b"a" * (10 * 1024**2 + 1)})
    (clone.folder / "model.txt").unlink()
    clone.commit()


def add_pointer(clone: Clone) -> None:
    pointer = (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize {2 * 1024**3}\n"
    )
    clone.commit({"weights.bin": pointer})


REFUSED = {
    "a long short_description": (
        front_matter(f"short_description: {'x' * 61}"),
        [YAML, '- Error: "short_description" length must be less than or equal to 60 characters long'],
    ),
    "an unknown colour": (
        front_matter("colorFrom: orange"),
        [YAML, '"colorFrom" must be one of [red, yellow, green, blue, indigo, purple, pink, gray]'],
    ),
    "a privileged port": (
        front_matter("app_port: 80"),
        [YAML, '- Error: "app_port" must be greater than or equal to 1025'],
    ),
    "a title that is not a string": (
        front_matter("license: [mit]\npinned: 1"),
        [YAML, '- Error: "pinned" must be a boolean'],
    ),
    "an unknown license": (
        front_matter("license: gpl-2.0-or-later"),
        [YAML, '- Error: "license" must be one of [apache-2.0, mit, openrail, '],
    ),
    "a large file, deleted since": (
        add_and_delete,
        [LARGE, "remote: Offending files:", "remote:   - model.txt (ref: refs/heads/main)"],
    ),
    "a picture": (
        lambda clone: clone.commit({"site/some picture.png": PICTURE}),
        [BINARY, "https://huggingface.co/docs/hub/xet", "  - site/some picture.png (ref: refs/heads/main)"],
    ),
    "two gigabytes in LFS": (
        add_pointer,
        ["remote: Repository storage limit reached (Max: 1 GB)"],
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def space_id(hub: HubInABox) -> str:
    """A Space that no push reaches."""
    space_id = "acme/refuses"
    hub.api.create_repo(space_id, repo_type="space", space_sdk="docker")
    return space_id


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_hub_refuses_is_refused_in_its_words(
    hub: HubInABox, clone: Clone, space_id: str, what: str
) -> None:
    """A refused push must print the Hub's text, and leave the repository as it was."""
    before = hub.api.repo_info(space_id, repo_type="space").sha
    spoil, said = REFUSED[what]
    spoil(clone)

    answer = clone.git("push", "--force", hub.remote(space_id), "main", fails=True)

    for text in [*said, "! [remote rejected] main -> main (pre-receive hook declined)"]:
        assert text in answer, f"{text!r} is not in:\n{answer}"
    assert hub.api.repo_info(space_id, repo_type="space").sha == before
    assert hub.api.get_space_runtime(space_id).stage == "NO_APP_FILE", "nothing may be built"


def test_the_first_push_meets_the_hubs_own_commit(
    hub: HubInABox, clone: Clone, space_id: str, tmp_path: Path
) -> None:
    """The first push without --force must fail: the repository has the Hub's two files."""
    assert "[rejected]" in clone.git("push", hub.remote(space_id), "main", fails=True)

    clone.git("clone", "--quiet", hub.remote(space_id), str(tmp_path / "first"))
    assert {path.name for path in (tmp_path / "first").iterdir()} == {".git", ".gitattributes", "README.md"}  # fmt: skip


def test_a_repository_that_does_not_exist(hub: HubInABox, clone: Clone) -> None:
    """A push must report a missing repository as missing, with any name."""
    for name in ("acme/no-such-space", "..", "acme/..", "acme/%2e%2e%2fetc"):
        assert "not found" in clone.git(
            "push", f"{hub.endpoint}/spaces/{name}", "main", fails=True
        ), name


def test_pushes_from_anywhere(hub: HubInABox, clone: Clone, space_id: str, tmp_path: Path) -> None:
    """A push must arrive as committed: from another work tree, in several packs, from another branch."""
    elsewhere = tmp_path / "a work tree"
    clone.git("worktree", "add", "--quiet", "-b", "other", str(elsewhere))
    lines = "".join(f"{number * 7919 % 1000003}\n" for number in range(400_000))
    other = Clone(elsewhere)
    commit = other.commit({"a folder/numbers.txt": lines})

    other.git("push", hub.remote(f"{space_id}.git"), "other")

    assert commit in clone.git("ls-remote", hub.remote(space_id), "refs/heads/other")
    runtime = hub.api.get_space_runtime(space_id)
    assert runtime.stage == "NO_APP_FILE", "main alone is built"


def test_a_shallow_clone(hub: HubInABox, clone: Clone, space_id: str, tmp_path: Path) -> None:
    """The push of a shallow clone must be refused with the reason, and pass when the history is complete."""
    clone.commit({"second.txt": "2"})
    clone.git("clone", "--quiet", "--depth=1", f"file://{clone.folder}", str(tmp_path / "shallow"))
    shallow = Clone(tmp_path / "shallow")

    said = shallow.git("push", hub.remote(space_id), "HEAD:refs/heads/shallow", fails=True)
    assert "shallow update not allowed" in said

    shallow.git("fetch", "--quiet", "--unshallow")
    shallow.git("push", hub.remote(space_id), "HEAD:refs/heads/shallow")
