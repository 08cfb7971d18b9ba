"""A Space cloned from a Hub, and a revision with its submodules: the folder that the Hub would build."""

from __future__ import annotations

import functools
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from preflight.model.git import GitError, Repository
from preflight.model.hub_profile import HUB
from preflight.model.space import SpaceError
from preflight.pytest_plugin.hub_space import clone
from preflight.rules.tree import fill_submodules

WHO = {
    f"GIT_{role}_{part}": "test@example.com"
    for role in ("AUTHOR", "COMMITTER")
    for part in ("NAME", "EMAIL")
}
ALONE = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_ALLOW_PROTOCOL": "file:http",
}
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 5\n"


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(
        ["git", "-C", str(folder), *arguments], check=True, capture_output=True, timeout=60, env=os.environ | WHO | ALONE
    )  # fmt: skip


def repository(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=first")
    return folder


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A server of files with the Space acme/web, whose large file is a pointer in git."""
    served = tmp_path / "hub" / "spaces" / "acme"
    served.mkdir(parents=True)
    source = repository(tmp_path / "source", README_md="---\nsdk: docker\n---\n", model_bin=POINTER)
    git(tmp_path, "clone", "--quiet", "--bare", str(source), str(served / "web"))
    git(served / "web", "update-server-info")
    (served / "web" / "resolve" / "main").mkdir(parents=True)
    (served / "web" / "resolve" / "main" / "model.bin").write_bytes(b"whole")
    handler = functools.partial(Quiet, directory=str(tmp_path / "hub"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield served
        server.shutdown()


def test_a_space_is_cloned_with_its_large_files(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`hf:OWNER/NAME` must give the folder as the Hub builds it: with content instead of pointers."""
    monkeypatch.setattr(HUB, "owner", "ada")
    space = clone("hf:acme/web", tmp_path / "clones")
    assert HUB.host(space.name) == "acme-web.hf.space"
    assert space.name == "web"
    assert (space.folder / "model.bin").read_bytes() == b"whole"
    assert (space.folder / ".git").is_dir()


@pytest.mark.parametrize("named", ["hf:web", "hf:acme/web/more", "hf:"])
def test_an_invalid_name_is_refused(named: str, tmp_path: Path) -> None:
    """The message must name the expected form."""
    with pytest.raises(SpaceError, match=r"write hf:OWNER/NAME"):
        clone(named, tmp_path)


def test_an_absent_space_is_named(hub: Path, tmp_path: Path) -> None:
    """The message must name the address, and what a private Space needs."""
    with pytest.raises(SpaceError, match=r"spaces/acme/absent can't be cloned: .*HF_TOKEN"):
        clone("hf:acme/absent", tmp_path / "clones")


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    """A repository with a submodule, checked out."""
    words = repository(tmp_path / "words", en_txt="hello\n")
    parent = repository(tmp_path / "parent", README_md="# Web\n")
    git(parent, "submodule", "--quiet", "add", f"file://{words}", "words")
    git(parent, "commit", "--quiet", "--message=words")
    return parent


def test_a_revision_has_its_submodules(parent: Path, tmp_path: Path) -> None:
    """`--ref` must judge the folder that a recursive clone would have."""
    found = Repository.of_folder(parent)
    assert found
    found.export(tmp_path / "out")
    fill_submodules(found, tmp_path / "out")
    assert (tmp_path / "out" / "words" / "en.txt").read_text() == "hello\n"


def test_a_submodule_that_cannot_be_cloned_is_named(parent: Path, tmp_path: Path) -> None:
    """The message must name the submodule if there is no checkout and the clone of its address fails."""
    git(parent, "submodule", "deinit", "--quiet", "--force", "words")
    (tmp_path / "words").rename(tmp_path / "moved")
    found = Repository.of_folder(parent)
    assert found
    found.export(tmp_path / "out")
    with pytest.raises(GitError, match="the submodule words can't be cloned"):
        fill_submodules(found, tmp_path / "out")
