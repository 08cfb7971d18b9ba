"""The table of causes: patterns in the log of a failed build or start, the cause and the fix.

Standard library only: `preflight up` uses it before anything is installed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    BUILD = "build"
    START = "start"


@dataclass(frozen=True)
class Cause:
    """A pattern in a log, the cause, and the fix at each stage where it occurs."""

    pattern: str
    what: str
    at_build: str | None = None
    at_start: str | None = None

    def fix(self, stage: Stage) -> str | None:
        return self.at_build if stage is Stage.BUILD else self.at_start

    def found_in(self, text: str) -> bool:
        return re.search(self.pattern, text, re.I | re.M) is not None


def cause_in(text: str, stage: Stage) -> Cause | None:
    """The most specific cause of a failure at `stage`; None when no pattern matches."""
    return next((cause for cause in CAUSES if cause.fix(stage) and cause.found_in(text)), None)


# Colours and other control sequences of a terminal. Source: ECMA-48, 5.4.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


def plain(text: str) -> str:
    """The text of a log without terminal escapes."""
    return _ESCAPES.sub("", text)


def last_lines(text: str, count: int) -> list[str]:
    """The last lines that are not blank."""
    return [line for line in text.splitlines() if line.strip()][-count:]


def indented(lines: Iterable[str]) -> str:
    return "\n".join(f"    {line[:300]}" for line in lines)


NO_NETWORK = Cause(
    r"Temporary failure in name resolution|EAI_AGAIN|Could not resolve host|Network is unreachable"
    r"|ENETUNREACH|ETIMEDOUT|Temporary failure resolving",
    "the build has no network, or the host name does not exist",
    "check the network of this machine and proxy settings of the engine",
)
NO_NETWORK_AT_START = Cause(
    rf"{NO_NETWORK.pattern}|Name or service not known|\bENOTFOUND\b|Failed to resolve"
    r"|No address associated with hostname|LocalEntryNotFoundError|check your (internet )?connection",
    "a host name has no address, or there is no network",
    None,
    "check the host name, and connect in the background: the server then answers meanwhile",
)

# Most specific first.
CAUSES = (
    Cause(
        r"no space left on device|Errno 28\b|ENOSPC",
        "the disk is full",
        "free some space, for example: docker system prune",
        "write less to the disk: the Hub's is 50 GB and is lost at each restart",
    ),
    Cause(
        r"dockerfile parse error|unknown instruction|Dockerfile cannot be empty",
        "the Dockerfile has a syntax error",
        "correct the line named above",
    ),
    Cause(
        r"failed to read dockerfile|Cannot locate Dockerfile",
        "there is no Dockerfile at the root of the folder",
        "the Hub builds /Dockerfile of the Space and no other; put it there",
    ),
    Cause(
        r"UID 1000 is not unique|uid 1000 already exists",
        "the base image already has a user with uid 1000 (node:*, ubuntu:24.04)",
        "use that user instead of adding one",
    ),
    Cause(
        r"failed to compute cache key.*not found|failed to calculate checksum.*not found|COPY failed",
        "a file that COPY or ADD names is not in the build context",
        "check its path, .dockerignore and .gitignore; the Hub has only what is committed",
    ),
    Cause(
        r"no match for platform|exec format error|no matching manifest",
        "the image or a program in it is for another platform",
        "the Hub runs linux/amd64: build for that platform",
        "build for linux/amd64",
    ),
    NO_NETWORK,
    NO_NETWORK_AT_START,
    Cause(
        r"failed to resolve source metadata|pull access denied|manifest unknown|no such host",
        "a base image can't be pulled",
        "check its name and tag, and that its registry answers: docker pull NAME",
    ),
    Cause(
        r"ResolutionImpossible|ERESOLVE|conflicting dependencies|No matching distribution found|ETARGET",
        "the dependencies can't be resolved together",
        "correct the versions, lock again and commit the lock file",
    ),
    Cause(
        r"DO NOT MATCH THE HASHES|EINTEGRITY",
        "a downloaded package differs from the locked hash",
        "lock again; if it persists, do not trust that package",
    ),
    Cause(
        r"npm ci.*can only install|`npm ci` can only install",
        "package.json and package-lock.json disagree, or there is no package-lock.json",
        "run `npm install` and commit package-lock.json",
    ),
    Cause(
        r"exec \S+: no such file or directory|bad interpreter|env: .*\\r",
        "the command's interpreter is not in the image",
        None,
        "check the script's first line: CRLF line ends, or an interpreter that the image lacks",
    ),
    Cause(
        r"executable file not found|: command not found|: not found$",
        "a program is not in the image",
        None,
        "install the program in the image, or correct its name in CMD or ENTRYPOINT",
    ),
    Cause(
        r"Errno 30\b|EROFS|Read-only file system",
        "the disk is read-only there",
        None,
        "write below the home folder or /tmp only",
    ),
    Cause(
        r"Errno 13\b|EACCES|Permission denied",
        "a step writes where its user may not",
        "do it before USER, or COPY with --chown",
        "give the file to the image's user (COPY --chown=1000:1000), or write below the home folder or /tmp",
    ),
    Cause(
        r"error while loading shared libraries|\.so[.\d]*: cannot open shared object file",
        "a system library is not in the image",
        "install the Debian package that has the library: RUN apt-get update && apt-get install -y NAME",
        "install the Debian package that has the library, such as libgl1 for libGL.so.1 or libxcb1 for "
        "libxcb.so.1: RUN apt-get update && apt-get install -y NAME",
    ),
    Cause(
        r"ModuleNotFoundError|ImportError|Cannot find (module|package)|ERR_MODULE_NOT_FOUND",
        "a module is not in the image",
        "add it to the requirements, lock again and commit the lock file",
        "install the module in the image: add it to the requirements, lock again, commit",
    ),
    Cause(
        r"address already in use|EADDRINUSE|Errno 98\b",
        "two servers want one port",
        None,
        "start one server on the port, not two",
    ),
    Cause(
        r"exit code: 137|signal: killed|OOMKilled",
        "the build ran out of memory",
        "make the step smaller; the Hub's build memory is unknown",
    ),
)
