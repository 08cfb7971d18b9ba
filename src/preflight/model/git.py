"""Runs git, and reads a folder's repository as a push would send it."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

from preflight.model.keys import keys_in

GIT_DEADLINE = 120
"""Seconds, unless a caller allows more."""
LARGEST_BLOB = 10 * 1024 * 1024
"""Bytes. "Your push was rejected because it contains files larger than 10 MiB."""
BINARY_PROBE = 8000
"""A blob with a NUL in its first bytes is binary, as git has it. The Hub's rule is not documented."""
LFS_POINTER = b"version https://git-lfs"
# A hook's environment points git elsewhere than `-C` does. Its object folders have to stay: they
# hold what is being received.
_ELSEWHERE = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_CEILING_DIRECTORIES"}


class GitError(Exception):
    """git failed; the message is git's, without passwords of addresses."""


def git(
    folder: Path,
    *arguments: str,
    check: bool = True,
    given: bytes | None = None,
    environment: Mapping[str, str] | None = None,
    deadline: float = GIT_DEADLINE,
) -> subprocess.CompletedProcess[bytes]:
    """Run git in `folder`.

    given: its standard input. environment: variables added to the inherited ones. deadline: seconds.
    check: raise GitError on an exit code other than 0.

    Raises:
        GitError: when git is not installed, or does not end within the deadline.
    """
    inherited = {key: value for key, value in os.environ.items() if key not in _ELSEWHERE}
    quiet = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            input=given,
            capture_output=True,
            timeout=deadline,
            env=inherited | quiet | dict(environment or {}),
        )
    except FileNotFoundError as error:
        raise GitError("git is not installed; install it") from error
    except subprocess.TimeoutExpired as error:
        raise GitError(f"git {arguments[0]} took longer than {deadline:g} s") from error
    if check and done.returncode:
        raise GitError(f"git {arguments[0]}: {_words_of(done.stderr)}")
    return done


def masked(text: str) -> str:
    """Text without the passwords of the addresses in it."""
    return re.sub(r"(://)[^/@\s]+@", r"\1…@", text)


@dataclass(frozen=True)
class Blob:
    """One version of a file in the history that would be pushed."""

    path: str
    size: int
    binary: bool = False
    lfs_size: int | None = None
    """The bytes of the file that an LFS pointer replaces; None for every other blob."""
    secrets: tuple[tuple[int, str], ...] = ()
    """Line and kind of what looks like a key. Never the key."""


@dataclass(frozen=True)
class Repository:
    """A folder of a git repository as `git subtree` would push it: `prefix` becomes the root.

    `prefix` is empty when the Space is the repository's root, else it ends with a slash.
    """

    root: Path
    prefix: str
    revision: str

    @classmethod
    def of_folder(cls, folder: Path, revision: str = "HEAD") -> Repository | None:
        """The repository that holds `folder`; None when there is none or it has no commit yet.

        Raises:
            GitError: when git refuses to read it, or `revision` does not exist.
        """
        asked = git(folder, "rev-parse", "--show-toplevel", "--show-prefix", check=False)
        if asked.returncode:
            if b"not a git repository" in asked.stderr:
                return None
            raise GitError(f"git cannot read {folder}: {_words_of(asked.stderr)}")
        top, _, prefix = asked.stdout.decode().rstrip("\n").partition("\n")
        repository = cls(Path(top), prefix, revision)
        resolved = git(
            folder, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}", check=False
        )
        if resolved.returncode == 0:
            return repository
        if revision == "HEAD":
            return None
        raise GitError(f"--ref {revision}: {top} has no such revision")

    def git(self, *arguments: str) -> bytes:
        """The output of a git command in this repository. Raises GitError."""
        return git(self.root, *arguments).stdout

    @property
    def tree(self) -> str:
        """The tree that becomes the root of the Space's repository."""
        return f"{self.revision}:{self.prefix.rstrip('/')}"

    @cached_property
    def tracked(self) -> dict[str, tuple[str, int]]:
        """Mode and size of every file at the revision, by path below the prefix.

        Empty when the folder is not committed there.
        """
        listed = git(self.root, "ls-tree", "-r", "-l", "-z", self.tree, check=False)
        files: dict[str, tuple[str, int]] = {}
        for entry in listed.stdout.split(b"\0") if listed.returncode == 0 else ():
            facts, _, path = entry.partition(b"\t")
            if path:
                mode, _, _, size = facts.decode().split()
                files[os.fsdecode(path)] = (mode, int(size) if size != "-" else 0)
        return files

    @cached_property
    def history(self) -> list[Blob]:
        """Every version of every file below the prefix in all commits that would be pushed."""
        below = ["--", self.prefix] if self.prefix else []
        named = self.git("rev-list", "--objects", "--full-history", self.revision, *below)
        paths: dict[str, str] = {}
        for line in named.splitlines():
            oid, _, path = os.fsdecode(line).partition(" ")
            if path.startswith(self.prefix) and path != self.prefix:
                paths.setdefault(oid, path.removeprefix(self.prefix))
        return list(self._blobs(paths))

    def _blobs(self, paths: dict[str, str]) -> Iterator[Blob]:
        sizes = git(
            self.root,
            *("cat-file", "--batch-check=%(objecttype) %(objectsize) %(objectname)"),
            given="".join(f"{oid}\n" for oid in paths).encode(),
        ).stdout
        small: list[str] = []
        for line in sizes.decode().splitlines():
            kind, size, oid = line.split()
            if kind == "blob" and int(size) > LARGEST_BLOB:
                yield Blob(paths[oid], int(size))
            elif kind == "blob":
                small.append(oid)
        with tempfile.TemporaryFile() as asked:
            asked.write("".join(f"{oid}\n" for oid in small).encode())
            asked.seek(0)
            command = ["git", "-C", str(self.root), "cat-file", "--batch"]
            with subprocess.Popen(command, stdin=asked, stdout=subprocess.PIPE) as process:
                assert process.stdout is not None
                for oid in small:
                    yield _judged(paths[oid], _next_blob(process.stdout))

    @cached_property
    def missing_history(self) -> str | None:
        """The history that a shallow clone lacks; None when the history is complete."""
        if self.git("rev-parse", "--is-shallow-repository").strip() != b"true":
            return None
        count = self.git("rev-list", "--count", self.revision).decode().strip()
        return (
            f"the clone is shallow: {count} commits were looked at, older ones are not here and "
            "would be pushed too (git fetch --unshallow)"
        )

    @cached_property
    def status(self) -> dict[str, str]:
        """git's two-letter status of every changed, untracked (??) or ignored (!!) file."""
        shown = self.git(
            *("status", "--porcelain=v1", "-z", "--untracked-files=all", "--ignored=matching"),
            *("--no-renames", "--", f":(top){self.prefix}"),
        )
        entries = [os.fsdecode(entry) for entry in shown.split(b"\0") if entry]
        return {entry[3:].removeprefix(self.prefix): entry[:2] for entry in entries}

    @property
    def hub_remotes(self) -> list[tuple[str, str]]:
        """Owner and name of every remote that is a Space on the Hub."""
        listed = self.git("remote", "-v").decode("utf-8", "replace")
        found = re.findall(r"(?:huggingface\.co|hf\.co)[/:]spaces/([\w.-]+)/([\w.-]+)", listed)
        return list(dict.fromkeys(found))

    def export(self, into: Path) -> None:
        """Write the committed tree into `into`, as a clone of the pushed commit would have it.

        LFS pointers stay pointers. `git archive` would leave out files that `.gitattributes`
        marks `export-ignore`; a push sends them.

        Raises:
            GitError: when the folder is not committed at the revision.
        """
        into.mkdir(parents=True)
        with tempfile.TemporaryDirectory() as scratch:
            index = {"GIT_INDEX_FILE": f"{scratch}/index", "GIT_LFS_SKIP_SMUDGE": "1"}
            read = git(self.root, "read-tree", self.tree, check=False, environment=index)
            if read.returncode:
                where = self.prefix or "the root"
                raise GitError(f"{self.revision} of {self.root} has nothing committed at {where}")
            git(
                self.root,
                # A bare repository has no work tree, and git needs one.
                *(f"--work-tree={into}", "-c", "core.autocrlf=false"),
                *("-c", "filter.lfs.required=false"),
                *("-c", "filter.lfs.smudge=", "-c", "filter.lfs.process="),
                *("checkout-index", "--all", f"--prefix={into}/"),
                environment=index,
            )


def _judged(path: str, content: bytes) -> Blob:
    if content.startswith(LFS_POINTER):
        size = re.search(rb"^size (\d+)$", content, re.MULTILINE)
        return Blob(path, len(content), lfs_size=int(size.group(1)) if size else 0)
    # UTF-16 is text; Spaces with a requirements.txt in UTF-16 run on the Hub.
    if b"\0" in content[:BINARY_PROBE] and not content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return Blob(path, len(content), binary=True)
    return Blob(path, len(content), secrets=tuple(sorted(keys_in(content))))


def _next_blob(stream: IO[bytes]) -> bytes:
    header = stream.readline()
    size = int(header.split()[2])
    content: bytes = stream.read(size + 1)[:-1]
    return content


def _words_of(stderr: bytes) -> str:
    return masked(stderr.decode("utf-8", "replace").strip()) or "it failed and said nothing"
