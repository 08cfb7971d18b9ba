"""What git would send to the Space's repository, and what the Hub would refuse.

The rules are pure functions over a repository, a revision and the pushed folder, so that a
pre-receive hook can call them too. Sources: hub-docs spaces-github-actions.md (10 MiB), storage-
limits.md, security-secrets.md; huggingface_hub utils/_validators.py (names); the forum and issue
reports quoted in the checks. A limit without a source is a named setting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from preflight.model.context import context_files, glob_pattern
from preflight.model.git import LARGEST_BLOB, LFS_POINTER, Blob, Repository
from preflight.model.problems import Problem, Severity
from preflight.rules.dockerfile import Dockerfile, Place

LARGEST_REPOSITORY = 1024**3
"""Bytes, LFS included. "Repository storage limit reached (Max: 1 GB)"."""
NEARLY_FULL = 0.8
LONGEST_WHOLE_LABEL = 50
"""Characters of the longest `<owner>-<name>` that was observed as an address without a cut."""
LONGEST_LABEL = 63
"""Octets of one DNS label (RFC 1035)."""
CUT_LABEL = 48
"""The Hub keeps this many first characters of a longer label and adds `-` and seven hexadecimal digits
of the SHA-256 of the Space's internal id. Observed in 2026-08, and confirmed by computing it."""


def large_blob_problems(history: list[Blob]) -> Iterator[Problem]:
    """Blobs over 10 MiB, also in old commits."""
    for blob in sorted(history, key=lambda entry: -entry.size):
        if blob.size > LARGEST_BLOB:
            yield Problem(
                "no file over 10 MiB in any commit to be pushed, unless it is in LFS",
                _mib(blob.size),
                file=blob.path,
            )


def binary_problems(history: list[Blob]) -> Iterator[Problem]:
    """Binary files that are not in LFS, also in old commits."""
    for path in dict.fromkeys(blob.path for blob in history if blob.binary):
        yield Problem("binary files in LFS or Xet, in every commit to be pushed", "raw", file=path)


def size_problems(history: list[Blob]) -> Iterator[Problem]:
    """More bytes than the Hub stores for a Space."""
    total = stored_bytes(history)
    if total > LARGEST_REPOSITORY:
        yield Problem(
            f"at most {_mib(LARGEST_REPOSITORY)} in the whole history, LFS included", _mib(total)
        )


def size_warning(history: list[Blob]) -> str | None:
    total = stored_bytes(history)
    if NEARLY_FULL * LARGEST_REPOSITORY < total <= LARGEST_REPOSITORY:
        return f"the history to be pushed uses {_mib(total)} of {_mib(LARGEST_REPOSITORY)}"
    return None


def stored_bytes(history: list[Blob]) -> int:
    """Uncompressed size of the history in bytes, with the content of its LFS pointers."""
    return sum(blob.size + (blob.lfs_size or 0) for blob in history)


_DOTENV = re.compile(r"(^|/)\.env(\.([\w.-]+\.)?local)?$")
_DOTENV_OF_A_MODE = re.compile(r"(^|/)\.env\.(?!example$|sample$|template$|dist$|schema$)[\w.-]+$")


def dotenv_problems(history: list[Blob]) -> Iterator[Problem]:
    """`.env` files, also in old commits: a later deletion does not remove the file from the push."""
    for path in dict.fromkeys(blob.path for blob in history if _DOTENV.search(blob.path)):
        yield Problem("no `.env` in any commit to be pushed", "it is committed", file=path)


def dotenv_warning(history: list[Blob]) -> str | None:
    """`.env.production` and the like: front-end tools expect them in the commit, and no key may be in them."""
    paths = [blob.path for blob in history if _DOTENV_OF_A_MODE.search(blob.path)]
    others = sorted({path for path in paths if not _DOTENV.search(path)})
    return f"committed, and public on the Hub: {_some(others)}" if others else None


def secret_problems(history: list[Blob]) -> Iterator[Problem]:
    """Text that looks like a key. Another rule covers `.env` files."""
    for blob in history:
        for line, kind in () if _DOTENV.search(blob.path) else blob.secrets:
            yield Problem("no key in any commit to be pushed", kind, file=blob.path, line=line)


def pointer_problems(folder: Path, *, committed: bool) -> Iterator[Problem]:
    """LFS pointers where the build expects the content.

    In the working folder every pointer is a problem: the build would copy it. In a commit a pointer
    is right if the pushed `.gitattributes` sends the path through LFS. Rules outside the folder do
    not reach the Hub.
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
                "an LFS pointer that no rule covers",
                severity=Severity.BREAKS,
                file=name,
            )
        elif not committed:
            yield Problem("the content of LFS files", "an LFS pointer", "git lfs pull", file=name)


def _lfs_patterns(attributes: Path) -> list[re.Pattern[str]]:
    if not attributes.is_file():
        return []
    lines = attributes.read_text(encoding="utf-8", errors="replace").splitlines()
    globs = [line.split()[0] for line in lines if "filter=lfs" in line.split()]
    return [glob_pattern(glob if "/" in glob.rstrip("/") else f"**/{glob}") for glob in globs]


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
        taken = [file for file in context if whole or glob.match(file)]
        place = Place(file="Dockerfile", line=source.line)
        if not taken and not whole:
            yield _absent(source.pattern, pattern, context, folder, place)
            continue
        codes = {file: _code(status, file) for file in taken}
        untracked = [file for file, code in codes.items() if code in ("??", "A ", "AM")]
        if taken != [pattern]:
            # A COPY of a whole folder includes files that no step needs.
            untracked = [path for path in untracked if _is_built_from(folder, path)]
        ignored = [file for file, code in codes.items() if code == "!!"]
        if untracked:
            yield Problem(
                "every file that the build takes is committed",
                f"{source.pattern}: not committed: {_some(untracked)}",
                "git add and commit it, or exclude it in .dockerignore.",
                **place,
            )
        if ignored and len(ignored) == len(taken):
            yield Problem(
                "every file that the build takes is committed",
                f"{source.pattern}: ignored by .gitignore: {_some(ignored)}",
                "Build it in a stage of the Dockerfile, or remove it from .gitignore and commit it.",
                **place,
            )


def _absent(written: str, pattern: str, context: list[str], folder: Path, place: Place) -> Problem:
    expected = "every COPY source in the build context"
    alike = [file for file in context if file.lower() == pattern.lower()]
    if alike:
        return Problem(
            expected,
            f"{written}: no such file; there is {alike[0]}, and names are case-sensitive",
            f"Write {alike[0]}.",
            **place,
        )
    if (folder / pattern).exists():
        return Problem(
            expected,
            f"{written}: excluded by .dockerignore",
            f"Remove the line of .dockerignore that excludes it, or add `!{pattern}` at its end.",
            **place,
        )
    return Problem(expected, f"{written}: no such file", **place)


# Notes, tests and settings of tools: a build without them is the same.
_NOT_BUILT_FROM = re.compile(
    r"(^|/)(\.[^/]+|tests?|docs?|LICENSE[^/]*|[^/]*\.(md|rst|log|orig|bak))(/|$)", re.IGNORECASE
)


def _is_built_from(folder: Path, path: str) -> bool:
    """Whether a build may need a file: not a note, a tool's settings or part of another repository."""
    parents = [folder / parent for parent in Path(path).parents if parent != Path()]
    return not _NOT_BUILT_FROM.search(path) and not any(
        (parent / ".git").exists() for parent in parents
    )


def ignored_in_build(dockerfile: Dockerfile, folder: Path, repository: Repository) -> list[str]:
    """Git-ignored files that a wider COPY takes: in the image here, absent on the Hub."""
    patterns = [
        glob_pattern(source.pattern.removeprefix("./").strip("/")) for source in dockerfile.sources
    ]
    whole = any(source.pattern.strip("/") in (".", "./", "") for source in dockerfile.sources)
    status = repository.status
    return [
        file
        for file in sorted(context_files(folder))
        if _code(status, file) == "!!" and (whole or any(p.match(file) for p in patterns))
    ]


def dirty_files(repository: Repository) -> list[str]:
    """Files whose working copy differs from the commit to be pushed, without ignored files."""
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
    """The label before `.hf.space`: lower case, with `-` for `/`, `.` and `_`.

    Sources: hub-docs spaces-embed.md, spaces-agents.md; forum thread 177067 for `_`.
    """
    return re.sub(r"[/._]", "-", f"{owner}/{name}".lower())


def subdomain_problems(owner: str, name: str) -> Iterator[Problem]:
    """A name whose address is unknown until the Space exists."""
    label = subdomain(owner, name)
    if len(label) > LONGEST_WHOLE_LABEL:
        is_cut = "is" if len(label) > LONGEST_LABEL else "may be"
        yield Problem(
            f"<owner>-<name> of at most {LONGEST_WHOLE_LABEL} characters: the Hub uses it as the address",
            f"{label} has {len(label)}: the address {is_cut} {label[:CUT_LABEL]}-???????.hf.space",
            "Read the address on the Space's page when the Space exists, or shorten its name.",
            "the Space runs at another address than its name suggests",
            severity=Severity.ADVICE,
        )


def _code(status: dict[str, str], path: str) -> str:
    """git's status of a file; a wholly ignored or untracked folder is listed as `name/`."""
    if path in status:
        return status[path]
    parents = (f"{parent.as_posix()}/" for parent in Path(path).parents)
    return next((status[parent] for parent in parents if parent in status), "")


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _mib(size: int) -> str:
    return f"{size / 1024**2:.1f} MiB"
