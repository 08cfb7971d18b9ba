"""The stored state of a Space: its git repository, settings, stage and serving container."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from preflight.engine.run import Run
from preflight.local_hub import BRANCH
from preflight.model.git import LFS_POINTER
from preflight.rules.repository import name_problems, subdomain

# What a new Space's repository holds. Source: any Space; the README is made on the web page.
LFS_PATTERNS = """
    *.7z *.arrow *.bin *.bz2 *.ckpt *.ftz *.gz *.h5 *.joblib *.lfs.* *.mlmodel *.model *.msgpack
    *.npy *.npz *.onnx *.ot *.parquet *.pb *.pickle *.pkl *.pt *.pth *.rar *.safetensors
    saved_model/**/* *.tar.* *.tar *.tflite *.tgz *.wasm *.xz *.zip *.zst *tfevents*
"""
GITATTRIBUTES = "".join(
    f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in LFS_PATTERNS.split()
)
README = """---
title: {title}
emoji: 🐳
colorFrom: purple
colorTo: gray
sdk: {sdk}
pinned: false
---

Check out the configuration reference at https://huggingface.co/docs/hub/spaces-config-reference
"""


_LOCKS: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)


class NoSuchSpace(Exception):
    """There is no Space of this name."""


@dataclass
class State:
    """The state of a Space. `builds` counts the requested builds; only the last is valid.

    `sha` is the commit of `stage`, `serving_sha` the commit of `container`, and `image_sha` the
    commit of `image`, which outlives the container.
    """

    private: bool = False
    sdk: str = "docker"
    created: str = ""
    variables: dict[str, dict[str, str]] = field(default_factory=dict)
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    stage: str = "NO_APP_FILE"
    error: str | None = None
    builds: int = 0
    sha: str = ""
    container: str | None = None
    serving_sha: str | None = None
    port: int = 7860
    image: str | None = None
    image_sha: str = ""
    edge: str | None = None
    edge_network: str = ""
    edge_port: int | None = None
    edge_app_port: int = 7860

    @property
    def building(self) -> bool:
        """Whether the builder is at work, or should be."""
        return self.stage.endswith(("BUILDING", "APP_STARTING"))

    def stage_while(self, stage: str) -> str:
        """The name of a builder's stage, which differs while an earlier build serves."""
        return f"RUNNING_{stage}" if self.container else stage


class Hub:
    """The Hub's state folder, and the run that names all its containers and images."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    @cached_property
    def run(self) -> Run:
        """Marks what belongs to this Hub, also after a restart."""
        return Run(self.folder, self.id_file.read_text())

    @property
    def id_file(self) -> Path:
        return self.folder / "id"

    @property
    def default_id(self) -> str:
        """An id for each state folder. It names no owner process, so no test run removes it."""
        return f"preflight-{hashlib.sha256(str(self.folder).encode()).hexdigest()[:8]}-hub"

    def space(self, space_id: str) -> Space:
        """Raises NoSuchSpace."""
        space = Space(self, space_id)
        if next(name_faults(space_id), None) or not space.state_file.is_file():
            raise NoSuchSpace(space_id)
        return space

    def spaces(self) -> list[Space]:
        """All Spaces, by name."""
        found = sorted(self.folder.glob("spaces/*/*/state.json"))
        return [Space(self, f"{path.parts[-3]}/{path.parts[-2]}") for path in found]


class Space:
    """One Space of this Hub: `owner/name`."""

    def __init__(self, hub: Hub, space_id: str) -> None:
        self.hub = hub
        self.id = space_id
        self.owner, _, self.name = space_id.partition("/")
        self.folder = hub.folder / "spaces" / self.owner / self.name
        self.subdomain = subdomain(self.owner, self.name)
        self.git_dir = self.folder / "repo.git"
        self.state_file = self.folder / "state.json"
        self.build_log = self.folder / "build.jsonl"
        self.run_log = self.folder / "run.jsonl"
        """The log of a removed replica; the engine has the log of a running replica."""

    @classmethod
    def create(cls, hub: Hub, space_id: str, state: State) -> Space:
        """A repository with the Hub's first commit. Raises FileExistsError."""
        space = cls(hub, space_id)
        space.folder.mkdir(parents=True)
        space.git_dir.mkdir()
        space.git("init", "--quiet", "--bare", "--initial-branch=main")
        # No password on loopback, and no garbage collection after a push.
        space.git("config", "http.receivepack", "true")
        space.git("config", "receive.autogc", "false")
        hook = space.git_dir / "hooks" / "pre-receive"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text('#!/bin/sh\nexec "$HUB_PYTHON" -m preflight.local_hub.receive\n')
        hook.chmod(0o755)
        title = space.name.replace("-", " ").replace("_", " ").title()
        files = {
            ".gitattributes": GITATTRIBUTES,
            "README.md": README.format(title=title, sdk=state.sdk),
        }
        first = {path: text.encode() for path, text in files.items()}
        state.sha = space.commit(first, [], "initial commit")
        space._write(state)
        return space

    def delete(self) -> None:
        """Remove the repository and its state."""
        shutil.rmtree(self.folder)

    @property
    def state(self) -> State:
        """The present state. Raises NoSuchSpace when the Space was deleted."""
        try:
            return State(**json.loads(self.state_file.read_bytes()))
        except FileNotFoundError:
            raise NoSuchSpace(self.id) from None

    @contextmanager
    def change(self) -> Iterator[State]:
        """The state, to change; stored when the block ends without an error."""
        with self.lock:
            state = self.state
            yield state
            self._write(state)

    def _write(self, state: State) -> None:
        new = self.state_file.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_text(json.dumps(asdict(state), indent=1))
        # A reader finds the old or the new state, even when this process is killed here.
        new.replace(self.state_file)

    @property
    def lock(self) -> threading.RLock:
        """Held by the thread that changes the Space: its state, or its repository."""
        return _LOCKS[self.id]

    def git(
        self,
        *arguments: str,
        given: bytes = b"",
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """Output of git in the repository. Raises subprocess.CalledProcessError."""
        return subprocess.run(
            ["git", "-C", str(self.git_dir), *arguments], input=given, capture_output=True, check=True, timeout=120,
            env=git_environment(**(environment or {})),
        ).stdout.decode().strip()  # fmt: skip

    @property
    def head(self) -> str:
        """The commit of main."""
        return self.git("rev-parse", BRANCH)

    def fill_lfs_pointers(self, folder: Path) -> None:
        """Put the content of LFS files where `folder` has their pointers."""
        for path in folder.rglob("*"):
            if path.is_symlink() or not path.is_file() or path.stat().st_size > 1024:
                continue
            pointer = path.read_bytes()
            oid = re.search(rb"^oid sha256:([0-9a-f]{64})$", pointer, re.M)
            if pointer.startswith(LFS_POINTER) and oid:
                stored = self.lfs / oid[1].decode()
                if stored.is_file():
                    shutil.copyfile(stored, path)

    @property
    def lfs(self) -> Path:
        """The content of LFS files, by SHA-256."""
        return self.folder / "lfs"

    def commit(self, files: dict[str, bytes], deleted: list[str], message: str) -> str:
        """Make a commit on top of main, without moving main; returns its id.

        deleted: paths; a path that ends in a slash is a folder.
        """
        parent = self.git("for-each-ref", "--format=%(objectname)", BRANCH)
        index = self.git_dir / "commit.index"
        index.unlink(missing_ok=True)
        env = {"GIT_INDEX_FILE": str(index)}
        if parent:
            self.git("read-tree", parent, environment=env)
        for path in deleted:
            for file in self.git("ls-files", "-z", "--", path, environment=env).split("\0"):
                self.git("update-index", "--force-remove", "--", file, environment=env)
        for path, content in files.items():
            blob = self.git("hash-object", "-w", "--stdin", given=content)
            self.git(
                "update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", environment=env
            )
        tree = self.git("write-tree", environment=env)
        index.unlink()
        parents = ["-p", parent] if parent else []
        commit = self.git("commit-tree", tree, *parents, "-m", message)
        if not parent:
            self.git("update-ref", BRANCH, commit)
        return commit


def name_faults(space_id: str) -> Iterator[str]:
    """Why the Hub refuses the name of a Space."""
    for part in space_id.split("/"):
        for problem in name_problems(part):
            yield f"{part!r}: {problem.expected}"


def git_environment(**more: str) -> dict[str, str]:
    """For git in a Space's repository: the repository's settings alone."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    system = {"NAME": "system", "EMAIL": "system@huggingface.co"}
    who = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in system.items()}  # fmt: skip
    quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}
    return {**inherited, **who, **quiet, **more}


def now() -> str:
    """The time as the Hub's API writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
