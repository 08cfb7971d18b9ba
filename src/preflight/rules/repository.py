"""What git would send to the Space's repository, and what the Hub would say to it.

The rules are pure functions over a repository, a revision and the folder that is pushed, so that a
pre-receive hook can ask them too. Sources: hub-docs spaces-github-actions.md (10 MiB), storage-
limits.md, security-secrets.md; huggingface_hub utils/_validators.py (names); the forum and issue
reports quoted in the checks. What no source states is a named setting.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING

from preflight.model.context import context_files, glob_pattern
from preflight.model.problems import Problem

if TYPE_CHECKING:
    from preflight.rules.dockerfile import Dockerfile

LARGEST_BLOB = 10 * 1024 * 1024
"""Bytes. "Your push was rejected because it contains files larger than 10 MiB."""
BINARY_PROBE = 8000
"""A blob with a NUL in its first bytes is binary, as git has it. The Hub's rule is not documented."""
LARGEST_REPOSITORY = 1024**3
"""Bytes, LFS included. "Repository storage limit reached (Max: 1 GB)"."""
NEARLY_FULL = 0.8
LONGEST_LABEL = 63
"""Octets of one DNS label (RFC 1035): the Space's host is <owner>-<name>.hf.space."""
GIT_TIMEOUT_S = 120
LFS_POINTER = b"version https://git-lfs"


class GitError(Exception):
    """git could not answer; the message has git's own words."""


@dataclass(frozen=True)
class Blob:
    """One version of a file in the history that would be pushed."""

    path: str
    size: int
    binary: bool = False
    lfs_size: int | None = None
    """What an LFS pointer stands for; None for every other blob."""
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
        asked = _git(folder, "rev-parse", "--show-toplevel", "--show-prefix", check=False)
        if asked.returncode:
            if b"not a git repository" in asked.stderr:
                return None
            raise GitError(f"git cannot read {folder}: {_words_of(asked.stderr)}")
        top, _, prefix = asked.stdout.decode().rstrip("\n").partition("\n")
        repository = cls(Path(top), prefix, revision)
        resolved = _git(
            folder, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}", check=False
        )
        if resolved.returncode == 0:
            return repository
        if revision == "HEAD":
            return None
        raise GitError(f"--ref {revision}: {top} has no such revision")

    def git(self, *arguments: str) -> bytes:
        return _git(self.root, *arguments).stdout

    @property
    def tree(self) -> str:
        """The tree that becomes the root of the Space's repository."""
        return f"{self.revision}:{self.prefix.rstrip('/')}"

    @cached_property
    def tracked(self) -> dict[str, tuple[str, int]]:
        """Mode and size of every file at the revision, by path below the prefix.

        Empty when the folder is not committed there.
        """
        listed = _git(self.root, "ls-tree", "-r", "-l", "-z", self.tree, check=False)
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
        sizes = _git(
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
        """What a shallow clone lacks; None when the history is whole."""
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
        """Write the committed tree into `into`, as a clone of what is pushed would have it.

        LFS pointers stay pointers. Not `git archive`: it would leave out what `.gitattributes`
        marks `export-ignore`, and a push does not.

        Raises:
            GitError: when the folder is not committed at the revision.
        """
        into.mkdir(parents=True)
        with tempfile.TemporaryDirectory() as scratch:
            index = {"GIT_INDEX_FILE": f"{scratch}/index", "GIT_LFS_SKIP_SMUDGE": "1"}
            read = _git(self.root, "read-tree", self.tree, check=False, extra=index)
            if read.returncode:
                where = self.prefix or "the root"
                raise GitError(f"{self.revision} of {self.root} has nothing committed at {where}")
            _git(
                self.root,
                # A bare repository has no work tree, and git wants to know of one.
                *(f"--work-tree={into}", "-c", "core.autocrlf=false"),
                *("-c", "filter.lfs.required=false"),
                *("-c", "filter.lfs.smudge=", "-c", "filter.lfs.process="),
                *("checkout-index", "--all", f"--prefix={into}/"),
                extra=index,
            )


def large_blob_problems(history: list[Blob]) -> Iterator[Problem]:
    """Blobs over 10 MiB, also in old commits."""
    for blob in sorted(history, key=lambda one: -one.size):
        if blob.size > LARGEST_BLOB:
            yield Problem(
                "no file over 10 MiB in any commit to be pushed, unless it is in LFS",
                f"{blob.path}: {_mib(blob.size)}",
            )


def binary_problems(history: list[Blob]) -> Iterator[Problem]:
    """Binary files that are not in LFS, also in old commits."""
    for path in dict.fromkeys(blob.path for blob in history if blob.binary):
        yield Problem("binary files in LFS or Xet, in every commit to be pushed", f"{path}: raw")


def size_problems(history: list[Blob]) -> Iterator[Problem]:
    """More than the Hub stores for one Space."""
    total = stored_bytes(history)
    if total > LARGEST_REPOSITORY:
        yield Problem(
            f"at most {_mib(LARGEST_REPOSITORY)} in the whole history, LFS included", _mib(total)
        )


def size_warning(history: list[Blob]) -> str | None:
    total = stored_bytes(history)
    if NEARLY_FULL * LARGEST_REPOSITORY < total <= LARGEST_REPOSITORY:
        return f"{_mib(total)} of {_mib(LARGEST_REPOSITORY)} are used by the history to be pushed"
    return None


def stored_bytes(history: list[Blob]) -> int:
    """Uncompressed size of the history, with what its LFS pointers stand for."""
    return sum(blob.size + (blob.lfs_size or 0) for blob in history)


_DOTENV = re.compile(r"(^|/)\.env(\.([\w.-]+\.)?local)?$")
_DOTENV_OF_A_MODE = re.compile(r"(^|/)\.env\.(?!example$|sample$|template$|dist$|schema$)[\w.-]+$")


def dotenv_problems(history: list[Blob]) -> Iterator[Problem]:
    """`.env` files, also in old commits: deleting one later does not take it out of the push."""
    for path in dict.fromkeys(blob.path for blob in history if _DOTENV.search(blob.path)):
        yield Problem("no `.env` in any commit to be pushed", f"{path} is committed")


def dotenv_warning(history: list[Blob]) -> str | None:
    """`.env.production` and the like, which front-end tools want committed and a key must not enter."""
    paths = [one.path for one in history if _DOTENV_OF_A_MODE.search(one.path)]
    others = sorted({path for path in paths if not _DOTENV.search(path)})
    return f"committed, and public on the Hub: {_some(others)}" if others else None


def secret_problems(history: list[Blob]) -> Iterator[Problem]:
    """What looks like a key. `.env` files are another rule's."""
    for blob in history:
        for line, kind in () if _DOTENV.search(blob.path) else blob.secrets:
            yield Problem("no key in any commit to be pushed", f"{blob.path}:{line}: {kind}")


def pointer_problems(folder: Path, *, committed: bool) -> Iterator[Problem]:
    """LFS pointers where the build expects the content.

    In the working folder every pointer is one: the build would copy it. In what is committed, a
    pointer is right where the pushed `.gitattributes` sends the path through LFS; rules outside
    the folder do not reach the Hub.
    """
    patterns = _lfs_patterns(folder / ".gitattributes")
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.startswith(".git/") or path.is_symlink() or not path.is_file():
            continue
        with path.open("rb") as file:
            if file.read(len(LFS_POINTER)) != LFS_POINTER:
                continue
        sent_by_lfs = any(pattern.search(name) for pattern in patterns)
        if committed and not sent_by_lfs:
            yield Problem(
                "a rule `filter=lfs` in the folder's own .gitattributes for every LFS file",
                f"{name} is an LFS pointer and no rule covers it",
            )
        elif not committed:
            yield Problem("the content of LFS files", f"{name} is an LFS pointer (git lfs pull)")


def _lfs_patterns(attributes: Path) -> list[re.Pattern[str]]:
    if not attributes.is_file():
        return []
    lines = attributes.read_text(encoding="utf-8", errors="replace").splitlines()
    globs = [line.split()[0] for line in lines if "filter=lfs" in line.split()]
    return [glob_pattern(one if "/" in one.rstrip("/") else f"**/{one}") for one in globs]


def build_source_problems(
    dockerfile: Dockerfile, folder: Path, repository: Repository | None
) -> Iterator[Problem]:
    """Files that the build takes from the context and that the push does not send."""
    context = sorted(context_files(folder))
    status = repository.status if repository is not None else {}
    for source in dockerfile.sources:
        pattern = source.pattern.removeprefix("./").strip("/") or "."
        whole = pattern == "."
        glob = glob_pattern(pattern)
        taken = [one for one in context if whole or glob.match(one)]
        where = f"Dockerfile:{source.line}: {source.pattern}"
        if not taken and not whole:
            yield Problem("every COPY source in the build context", f"{where}: no such file")
            continue
        codes = {one: _code(status, one) for one in taken}
        untracked = [one for one, code in codes.items() if code in ("??", "A ", "AM")]
        ignored = [one for one, code in codes.items() if code == "!!"]
        if untracked:
            yield Problem(
                "every file that the build takes is committed",
                f"{where}: not committed: {_some(untracked)}",
                "git add and commit it, or exclude it in .dockerignore.",
            )
        if ignored and len(ignored) == len(taken):
            yield Problem(
                "every file that the build takes is committed",
                f"{where}: ignored by .gitignore: {_some(ignored)}",
                "Build it in a stage of the Dockerfile, or take it out of .gitignore and commit it.",
            )


def ignored_in_build(dockerfile: Dockerfile, folder: Path, repository: Repository) -> list[str]:
    """Git-ignored files that a wider COPY takes: in the image here, absent on the Hub."""
    patterns = [
        glob_pattern(one.pattern.removeprefix("./").strip("/")) for one in dockerfile.sources
    ]
    whole = any(one.pattern.strip("/") in (".", "./", "") for one in dockerfile.sources)
    status = repository.status
    return [
        one
        for one in sorted(context_files(folder))
        if _code(status, one) == "!!" and (whole or any(p.match(one) for p in patterns))
    ]


def dirty_files(repository: Repository) -> list[str]:
    """Files whose working copy differs from what would be pushed, ignored ones apart."""
    return sorted(path for path, code in repository.status.items() if code != "!!")


def name_problems(name: str) -> Iterator[Problem]:
    """A repository name that the Hub refuses."""
    expected = (
        "1 to 96 of letters, digits, `-`, `_` and `.`, without `--` or `..`, not starting or "
        "ending with `-` or `.`, not ending with `.git`"
    )
    valid = re.fullmatch(r"(?![-.])[A-Za-z0-9._-]{1,96}(?<![-.])", name)
    if not valid or "--" in name or ".." in name or name.endswith(".git"):
        yield Problem(f"a repository name of {expected}", name)


def subdomain(owner: str, name: str) -> str:
    """The label before `.hf.space`. Sources: hub-docs spaces-embed.md, spaces-agents.md (lower
    case, `/` and `.` become `-`); `_` becomes `-` by forum thread 177067."""
    return re.sub(r"[/._]", "-", f"{owner}/{name}".lower())


def subdomain_problems(owner: str, name: str) -> Iterator[Problem]:
    """A host name label longer than DNS allows."""
    label = subdomain(owner, name)
    if len(label) > LONGEST_LABEL:
        yield Problem(
            f"a subdomain of at most {LONGEST_LABEL} characters",
            f"{label} has {len(label)}",
            f"Shorten the Space's name by {len(label) - LONGEST_LABEL}.",
        )


# The shapes that providers document. A key of our own making has no shape; TruffleHog, which the
# Hub runs on every push, asks the provider and needs none.
KEY_SHAPES: dict[str, re.Pattern[bytes]] = {
    "a private key": re.compile(rb"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----\s*\n[A-Za-z0-9+/=]{40}"),
    "a Hugging Face token": re.compile(rb"\bhf_[A-Za-z0-9]{30,}\b"),
    "an OpenAI or Anthropic key": re.compile(rb"\bsk-(?:proj-|ant-|svcacct-)?[A-Za-z0-9_-]{32,}\b"),
    "an AWS access key": re.compile(rb"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    "a GitHub token": re.compile(rb"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{60,})\b"),
    "a Google API key": re.compile(rb"\bAIza[A-Za-z0-9_-]{35}\b"),
    "a Slack token": re.compile(rb"\bxox[abprs]-[A-Za-z0-9-]{20,}\b"),
    "a Stripe live key": re.compile(rb"\b[rs]k_live_[A-Za-z0-9]{20,}\b"),
    "a password in a URL": re.compile(
        rb"\b(?:postgres(?:ql)?|mysql|mongodb(?:\+srv)?|rediss?|amqps?)://"
        rb"[^\s:/@'\"<>${}]+:(?P<key>[^\s@'\"<>${}]{12,})@"
    ),
}
PLACEHOLDER = re.compile(
    rb"(?i)example|placeholder|changeme|change-me|your|xxxx|sample|dummy|fake|0000"
)


def _secrets_in(content: bytes) -> Iterator[tuple[int, str]]:
    for kind, shape in KEY_SHAPES.items():
        for match in shape.finditer(content):
            key = match.groupdict().get("key") or match.group()
            # A key is random: a placeholder repeats itself or says that it is one.
            if not PLACEHOLDER.search(key) and len(set(key)) >= min(12, len(key) // 2):
                yield content.count(b"\n", 0, match.start()) + 1, kind


def _judged(path: str, content: bytes) -> Blob:
    if content.startswith(LFS_POINTER):
        size = re.search(rb"^size (\d+)$", content, re.MULTILINE)
        return Blob(path, len(content), lfs_size=int(size.group(1)) if size else 0)
    if b"\0" in content[:BINARY_PROBE]:
        return Blob(path, len(content), binary=True)
    return Blob(path, len(content), secrets=tuple(sorted(_secrets_in(content))))


def _next_blob(stream: IO[bytes]) -> bytes:
    header = stream.readline()
    size = int(header.split()[2])
    content: bytes = stream.read(size + 1)[:-1]
    return content


_ELSEWHERE = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_CEILING_DIRECTORIES"}


def _git(
    folder: Path,
    *arguments: str,
    check: bool = True,
    given: bytes | None = None,
    extra: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    # A hook's environment points git elsewhere than `-C` does; its object folders have to stay, for
    # they hold what is being received.
    inherited = {key: value for key, value in os.environ.items() if key not in _ELSEWHERE}
    quiet = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            input=given,
            capture_output=True,
            timeout=GIT_TIMEOUT_S,
            env=inherited | quiet | (extra or {}),
        )
    except FileNotFoundError as error:
        raise GitError("git is not installed; install it") from error
    except subprocess.TimeoutExpired as error:
        raise GitError(f"git {arguments[0]} took longer than {GIT_TIMEOUT_S} s") from error
    if check and done.returncode:
        raise GitError(f"git {arguments[0]}: {_words_of(done.stderr)}")
    return done


def _words_of(stderr: bytes) -> str:
    return stderr.decode("utf-8", "replace").strip() or "it failed and said nothing"


def _code(status: dict[str, str], path: str) -> str:
    """git's status of a file; a whole ignored or untracked folder stands as `name/`."""
    if path in status:
        return status[path]
    parents = (f"{parent.as_posix()}/" for parent in Path(path).parents)
    return next((status[parent] for parent in parents if parent in status), "")


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _mib(size: int) -> str:
    return f"{size / 1024**2:.1f} MiB"
