"""A user's clone, from which Spaces are pushed to a Hub in a box."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import pytest

from preflight.engine.edge import ThroughEdge
from preflight.local_hub.box import HubInABox
from tests.spaces import folder_of


class Clone:
    """A repository with one commit of a Space's files; its pushes return git's output."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
            **{f"GIT_{who}_NAME": "Ada" for who in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{who}_EMAIL": "ada@example.com" for who in ("AUTHOR", "COMMITTER")},
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "LC_ALL": "C",
        }

    @classmethod
    def of(cls, source: Path, folder: Path) -> Clone:
        """Of a folder, all of it committed."""
        clone = cls(folder)
        installed = shutil.ignore_patterns("node_modules", "__pycache__", ".*_cache")
        shutil.copytree(source, folder, ignore=installed, dirs_exist_ok=True)
        clone.git("init", "--quiet", "--initial-branch=main")
        clone.commit()
        return clone

    def git(self, *arguments: str, fails: bool = False) -> str:
        """git's standard output and error; `fails`: git must fail."""
        done = subprocess.run(
            ["git", *arguments], cwd=self.folder, env=self.environment, timeout=120,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert (done.returncode != 0) == fails, f"git {' '.join(arguments)}\n{done.stdout}"
        return done.stdout

    def commit(self, files: Mapping[str, str | bytes] | None = None) -> str:
        """Commit the folder as it is, with these files; returns the commit's id."""
        for name, content in (files or {}).items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message=A change")
        return self.git("rev-parse", "HEAD").strip()


class Visitor:
    """Requests a Space every 50 ms during the `with` block, and keeps the answers."""

    def __init__(self, space: ThroughEdge, path: str = "/") -> None:
        self.answers: list[str] = []
        """The status and the page's text; the error's name without an answer."""
        self.slowest = 0.0
        self._space, self._path = space, path
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def _ask(self) -> None:
        next_one = time.monotonic()
        while not self._left.wait(max(0, next_one - time.monotonic())):
            began, next_one = time.monotonic(), next_one + 0.05
            try:
                answer = self._space.get(self._path)
                self.answers.append(f"{answer.status_code} {answer.text}")
            except OSError as error:
                self.answers.append(type(error).__name__)
            self.slowest = max(self.slowest, time.monotonic() - began)

    @property
    def lost(self) -> list[str]:
        """The answers that are not 200."""
        return [answer for answer in self.answers if not answer.startswith("200 ")]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join(30)


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    """Of a small sound Space that needs no Variable and no Secret."""
    return Clone.of(folder_of("static_files"), tmp_path / "a clone")


@pytest.fixture
def new_space(hub: HubInABox, request: pytest.FixtureRequest) -> Iterator[str]:
    """The id of a new Space, which is deleted after the test."""
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name.lower())
    space_id = f"acme/{name.strip('-')[:60].strip('-')}"
    hub.api.create_repo(space_id, repo_type="space", space_sdk="docker")
    yield space_id
    hub.api.delete_repo(space_id, repo_type="space", missing_ok=True)
