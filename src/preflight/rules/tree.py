"""The tree that git sends: modes, line endings, links and names that differ from this disk."""

from __future__ import annotations

import os
import posixpath
import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from preflight.model.git import GitError, Repository
from preflight.model.problems import Problem, Severity
from preflight.rules.dockerfile import Dockerfile, script_of

SCRIPT, EXECUTABLE, LINK, GITLINK = "100644", "100755", "120000", "160000"
# Programs that start another program, whose name follows.
_STARTERS = {
    "tini",
    "dumb-init",
    "exec",
    "gosu",
    "su-exec",
    "setpriv",
    "env",
    "catatonit",
    "nice",
    "time",
}
_SHELLS = {"sh", "bash", "dash", "ash", "zsh", "python", "python3", "node", "ruby", "perl", "php"}
# Targets of links that exist in the image of any machine.
_OF_AN_IMAGE = (
    "/usr/",
    "/etc/",
    "/opt/",
    "/var/",
    "/tmp/",
    "/data/",
    "/proc/",
    "/dev/",
    "/run/",
    "/bin/",
    "/lib",
)


def mode_problems(
    dockerfile: Dockerfile, repository: Repository, folder: Path
) -> Iterator[Problem]:
    """Scripts that the image starts directly and that git sends without the executable bit.

    If this disk lacks the bit too, the start fails here as well, and the diagnosis of the start names it.
    """
    for path in started_files(dockerfile, repository):
        mode, _ = repository.tracked[path]
        on_disk = folder / path
        if mode != SCRIPT or not os.access(on_disk, os.X_OK) or _made_executable(dockerfile, path):
            continue
        yield Problem(
            f"mode {EXECUTABLE} for {path} in the commit, because the image starts it",
            f"git sends {path} with mode {mode}, not executable; on this disk it is executable",
            f"git update-index --chmod=+x {path}, then commit; or COPY --chmod=755. The file's owner does not matter.",
            file=path,
        )


def started_files(
    dockerfile: Dockerfile, repository: Repository, by_shells: bool = False
) -> list[str]:
    """Committed files that ENTRYPOINT, CMD or a RUN executes by name, or has a shell read."""
    words: list[str] = []
    for name in ("ENTRYPOINT", "CMD"):
        command = dockerfile.final.last(name)
        if command is not None:
            words += _executed(
                list(command.value) if command.json else _split(" ".join(command.value)), by_shells
            )
    for stage in dockerfile.stages:
        for command in stage.commands:
            if command.cmd == "RUN":
                for step in re.split(r"&&|\|\||;|\n", script_of(command)):
                    words += _executed(_split(step), by_shells)
    found = []
    for word in words:
        named = posixpath.normpath(word).lstrip("/")
        same = [
            path
            for path in repository.tracked
            if PurePosixPath(path).name == PurePosixPath(named).name
        ]
        # The file has the longest common end; several equal candidates count as none.
        whole = [
            path
            for path in same
            if named == path or named.endswith(f"/{path}") or path.endswith(f"/{named}")
        ]
        found += (whole or same)[:1] if len(whole or same) == 1 else []
    return list(dict.fromkeys(found))


def _executed(words: list[str], by_shells: bool) -> list[str]:
    """The program that a command starts, if it is a path; a shell only reads its argument."""
    skip = False
    for number, word in enumerate(words):
        name = PurePosixPath(word).name
        if skip:
            skip = False
        elif name in _SHELLS:
            read = [operand for operand in words[number + 1 :] if not operand.startswith("-")][:1]
            return read if by_shells and "-c" not in words else []
        elif name in _STARTERS:
            # gosu USER PROGRAM
            skip = name in ("gosu", "su-exec")
        elif not word.startswith("-") and "=" not in word:
            return [word] if "/" in word or "." in word else []
    return []


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _made_executable(dockerfile: Dockerfile, path: str) -> bool:
    name = PurePosixPath(path).name
    for stage in dockerfile.stages:
        for command in stage.commands:
            if command.cmd == "RUN" and re.search(r"\bchmod\b|\binstall\b.*-m", script_of(command)):
                script = script_of(command)
                if name in script or re.search(
                    r"chmod\s+(-\w*R|--recursive)|chmod[^&;|]*[*]|-exec\s+chmod", script
                ):
                    return True
            if command.cmd in ("COPY", "ADD") and any("--chmod" in flag for flag in command.flags):
                return True
    return False


def line_end_problems(
    dockerfile: Dockerfile, repository: Repository, folder: Path
) -> Iterator[Problem]:
    """Scripts that arrive on the Hub with CRLF, unless the image converts them."""
    steps = [
        command for stage in dockerfile.stages for command in stage.commands if command.cmd == "RUN"
    ]
    if any(_CONVERTS.search(script_of(step)) for step in steps):
        return
    directly = started_files(dockerfile, repository)
    for path in started_files(dockerfile, repository, by_shells=True):
        mode, _ = repository.tracked[path]
        if mode in (LINK, GITLINK):
            continue
        content = repository.git(
            "cat-file", "blob", f"{repository.revision}:{repository.prefix}{path}"
        )
        if path in directly and not content.startswith(b"#!"):
            continue
        committed = _has_crlf(content)
        if committed or attribute(repository, path, "eol") == "crlf":
            why = (
                "it is committed with CRLF" if committed else ".gitattributes sets eol=crlf for it"
            )
            here = folder / path
            if here.is_file() and not _has_crlf(here.read_bytes()):
                why += "; this disk has LF"
            yield Problem(
                f"LF line endings in {path}, which the image starts",
                f"{path} arrives on the Hub with CRLF: {why}",
                f"Add `{path} text eol=lf` to .gitattributes, run git add --renormalize {path}, and commit.",
                on_the_hub="exec … no such file or directory; env: 'bash\\r': No such file or directory; "
                "$'\\r': command not found",
                # A shell ignores the kernel's first line, and may read a simple script despite CRLF.
                severity=None if path in directly else Severity.RISK,
                file=path,
            )


_CONVERTS = re.compile(r"dos2unix|\\r|\btr\s+-d\b")


def _has_crlf(content: bytes) -> bool:
    return b"\r\n" in content.partition(b"\n\n")[0][:2000]


def attribute(repository: Repository, path: str, name: str) -> str:
    """The value of a git attribute by the pushed .gitattributes alone."""
    with tempfile.TemporaryDirectory() as scratch:
        alone = {"GIT_INDEX_FILE": f"{scratch}/index", "GIT_CONFIG_GLOBAL": os.devnull}
        environment = (
            os.environ | alone | {"GIT_CONFIG_SYSTEM": os.devnull, "GIT_ATTR_NOSYSTEM": "1"}
        )
        for arguments in (
            ("read-tree", repository.tree),
            ("check-attr", "--cached", name, "--", path),
        ):
            done = subprocess.run(
                ["git", "-C", str(repository.root), *arguments],
                env=environment, capture_output=True, text=True, timeout=30,
            )  # fmt: skip
    return done.stdout.rpartition(": ")[2].strip()


def submodule_problems(dockerfile: Dockerfile, repository: Repository) -> Iterator[Problem]:
    """Folders that are commits of other repositories and that a clone leaves empty."""
    links = [path for path, (mode, _) in repository.tracked.items() if mode == GITLINK]
    known = submodules(repository)
    for path in links:
        needed = any(
            source.pattern.strip("/") == path or source.pattern.lstrip("./").startswith(f"{path}/")
            for source in dockerfile.sources
        )
        severity = Severity.BREAKS if needed else Severity.RISK
        if path not in known:
            yield Problem(
                f"the files of {path} in the commit, or .gitmodules with its address",
                f"{path} is a gitlink without a line in .gitmodules: its folder is empty on the Hub",
                f"git rm --cached {path}, delete {path}/.git, git add {path}; or git submodule add ADDRESS {path}.",
                severity=severity,
                file=path,
            )
        elif not known[path].startswith("https://"):
            yield Problem(
                f"an https:// address for the submodule {path}",
                f".gitmodules gives {known[path]}, which the Hub has no key for",
                "Use the https:// address of a public repository, or commit the files.",
                severity=severity,
                file=".gitmodules",
            )


def submodules(repository: Repository) -> dict[str, str]:
    """The address of each submodule by its path, from the .gitmodules that is pushed."""
    if ".gitmodules" not in repository.tracked:
        return {}
    below = f"{repository.prefix}.gitmodules"
    listed = repository.git(
        "config",
        "--blob",
        f"{repository.revision}:{below}",
        "--get-regexp",
        r"^submodule\..*\.(path|url)$",
    ).decode("utf-8", "replace")
    values: dict[str, dict[str, str]] = {}
    for line in listed.splitlines():
        key, _, value = line.partition(" ")
        name, _, field = key.removeprefix("submodule.").rpartition(".")
        values.setdefault(name, {})[field] = value
    return {
        section["path"]: section.get("url", "") for section in values.values() if "path" in section
    }


# Files that each machine makes for itself and no image needs.
_MADE_HERE = re.compile(
    r"(^|/)(__pycache__|node_modules|\.venv|venv|\.(mypy|ruff|pytest)_cache|\.idea|\.vscode|coverage|\.git)/"
    r"|\.pyc$|(^|/)(\.DS_Store|Thumbs\.db|\.env(\..*)?|.*\.log|.*\.sw[op])$"
)


def may_be_needed(path: str) -> bool:
    """Whether an ignored file may be part of the app: not a cache, a log or an environment."""
    return not _MADE_HERE.search(path)


def case_problems(repository: Repository) -> Iterator[Problem]:
    """Names that differ in case alone: two files on the Hub, a single file on macOS or Windows."""
    seen: dict[str, str] = {}
    for path in repository.tracked:
        other = seen.setdefault(path.lower(), path)
        if other != path:
            yield Problem(
                "names that differ by more than their case",
                f"{other} and {path}: a checkout on macOS or Windows contains only one of the two",
                "git rm --cached the file that you do not need, and commit.",
                file=path,
            )


def link_problems(repository: Repository) -> Iterator[Problem]:
    """Symbolic links to targets that are not pushed."""
    for path, (mode, _) in repository.tracked.items():
        if mode != LINK:
            continue
        target = repository.git(
            "cat-file", "blob", f"{repository.revision}:{repository.prefix}{path}"
        ).decode("utf-8", "replace")
        if target.startswith("/"):
            out = not target.startswith(_OF_AN_IMAGE)
        else:
            out = posixpath.normpath(posixpath.join(posixpath.dirname(path), target)).startswith(
                ".."
            )
        if out:
            yield Problem(
                f"a target of the link {path} inside the pushed folder",
                f"{path} is a symbolic link to {target}, which is not pushed: it leads nowhere on the Hub",
                "Commit the content instead of the link.",
                file=path,
            )


def fill_submodules(repository: Repository, into: Path) -> None:
    """Write the content of each submodule into an export of `repository`, as a recursive clone has it.

    The working copy's clone is used if it has the commit; otherwise the address is cloned.

    Raises:
        GitError: naming the submodule that can't be cloned.
    """
    known = submodules(repository)
    for path in [file for file, (mode, _) in repository.tracked.items() if mode == GITLINK]:
        if path not in known:
            continue
        commit = (
            repository.git("rev-parse", f"{repository.revision}:{repository.prefix}{path}")
            .decode()
            .strip()
        )
        target = into / path
        if target.is_dir() and not any(target.iterdir()):
            target.rmdir()
        here = repository.root / repository.prefix / path
        with tempfile.TemporaryDirectory(prefix="preflight-submodule-") as scratch:
            inner = _holding(here, commit) or _cloned(
                known[path], path, commit, repository.root, Path(scratch)
            )
            inner.export(target)
            fill_submodules(inner, target)


def _holding(folder: Path, commit: str) -> Repository | None:
    """The repository in `folder`, if the folder is a repository itself and has the commit."""
    if not (folder / ".git").exists():
        return None
    found = subprocess.run(
        ["git", "-C", str(folder), "cat-file", "-e", f"{commit}^{{commit}}"],
        capture_output=True,
        timeout=30,
    )
    return Repository(folder, "", commit) if found.returncode == 0 else None


def _cloned(address: str, path: str, commit: str, beside: Path, scratch: Path) -> Repository:
    if address.startswith(("./", "../")):
        address = posixpath.normpath(posixpath.join(str(beside), address))
    done = subprocess.run(
        ["git", "clone", "--quiet", "--no-checkout", "--", address, str(scratch / "clone")],
        capture_output=True, text=True, timeout=120, env=os.environ | {"GIT_TERMINAL_PROMPT": "0"},
    )  # fmt: skip
    found = _holding(scratch / "clone", commit) if done.returncode == 0 else None
    if found is None:
        said = done.stderr.strip().splitlines()[-1:] or [f"it has no commit {commit[:12]}"]
        raise GitError(f"the submodule {path} can't be cloned from {address}: {said[0]}")
    return found
