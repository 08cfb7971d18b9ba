"""Digest of a failed image build: which step, the last useful lines, the likely cause and its fix.

Standard library only: `make up` uses it before anything is installed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# (pattern in the build output, likely cause, what to do), most telling first.
CAUSES = [
    (r"no space left on device",
     "the disk is full",
     "free some space, e.g. `docker system prune` removes unused images and build cache"),
    (r"dockerfile parse error|unknown instruction|Dockerfile cannot be empty",
     "the Dockerfile has a syntax error",
     "correct the line named above"),
    (r"failed to read dockerfile|Cannot locate Dockerfile",
     "there is no Dockerfile at the root of the folder",
     "the Hub builds /Dockerfile of the Space and no other; put it there"),
    (r"UID 1000 is not unique|uid 1000 already exists",
     "the base image already has a user with uid 1000 (node:*, ubuntu:24.04)",
     "use that user instead of adding one"),
    (r"failed to compute cache key.*not found|failed to calculate checksum.*not found|COPY failed",
     "a file that COPY or ADD names is not in the build context",
     "check its path, .dockerignore and .gitignore; the Hub has only what is committed"),
    (r"no match for platform|exec format error|no matching manifest",
     "the image or a binary in it is for another platform",
     "the Hub runs linux/amd64: build for that platform"),
    (r"Temporary failure in name resolution|EAI_AGAIN|Could not resolve host|Network is unreachable"
     r"|ENETUNREACH|ETIMEDOUT|Temporary failure resolving",
     "the build has no network, or the host name does not exist",
     "check the network of this machine and proxy settings of the engine"),
    (r"failed to resolve source metadata|pull access denied|manifest unknown|no such host",
     "a base image can't be pulled",
     "check its name and tag, and that the registry answers (`make up` uses stand-ins where none does)"),
    (r"ResolutionImpossible|ERESOLVE|conflicting dependencies|No matching distribution found|ETARGET",
     "the dependencies can't be resolved together",
     "correct the versions, lock again and commit the lock file"),
    (r"DO NOT MATCH THE HASHES|EINTEGRITY",
     "a downloaded package differs from the locked hash",
     "lock again; if it persists, do not trust that package"),
    (r"npm ci.*can only install|`npm ci` can only install",
     "package.json and package-lock.json disagree",
     "run `npm install` and commit package-lock.json"),
    (r"Permission denied|EACCES|Errno 13",
     "a step writes where its user may not",
     "do it before USER, or COPY with --chown"),
    (r"exit code: 137|signal: killed|OOMKilled",
     "the build ran out of memory",
     "make the step smaller; the Hub's build memory is unknown"),
]  # fmt: skip


@dataclass(frozen=True)
class BuildFailure:
    """Why a build failed, for people."""

    step: str
    last_lines: list[str]
    cause: str
    fix: str

    def __str__(self) -> str:
        lines = "\n".join(f"    {line}" for line in self.last_lines)
        return f"step:  {self.step}\n{lines}\ncause: {self.cause}\nfix:   {self.fix}"


def digest(output: str, lines: int = 12) -> BuildFailure:
    """Read BuildKit's plain progress output; `lines` is how many last lines to keep."""
    # Each step has a number: "#5 [build 3/5] RUN …", "#5 0.52 what it printed", "#5 ERROR: …".
    error = re.search(r"^#(\d+) ERROR:? (.+)$", output, re.M)
    if error:
        number = error.group(1)
        title = re.search(rf"^#{number} (.+)$", output, re.M)
        step = title.group(1) if title else f"#{number}"
        said = re.findall(rf"^#{number} \d+\.\d+ (.*)$", output, re.M)
        # The end of what a step printed may appear in the summary alone, between two rules.
        summary = re.search(r"^-{4,}\n > .+?:\n(.*?)^-{4,}$", output, re.M | re.S)
        repeated = re.findall(r"^\d+\.\d+ (.*)$", summary.group(1), re.M) if summary else []
        said += [line for line in repeated if line not in said]
        said.append(error.group(2))
    else:
        step = "reading the Dockerfile"
        said = [line for line in output.splitlines() if not line.startswith("#")]
    evidence = "\n".join(said)
    # npm and pip advertise their newer versions last.
    telling = [
        line.rstrip()
        for line in said
        if line.strip() and not re.match(r"npm notice|\[notice", line)
    ]
    pattern, cause, fix = (
        _recognised(evidence)
        or _recognised(output)
        or (None, "not recognised", "read the lines above, then the full log")
    )
    last = telling[-lines:]
    # Two outputs of a command come in any order, so what tells the cause may have come long before.
    tells = [line for line in telling if pattern and re.search(pattern, line, re.I)]
    if tells and tells[-1] not in last:
        last = [tells[-1], *last[1:]]
    return BuildFailure(step, [line[:400] for line in last], cause, fix)


def recognised(said: str) -> tuple[str, str] | None:
    """The likely cause of what a failed command said, and what to do; None when nothing fits."""
    found = _recognised(said)
    return found[1:] if found else None


def _recognised(said: str) -> tuple[str, str, str] | None:
    return next((entry for entry in CAUSES if re.search(entry[0], said, re.I)), None)
