"""Digest of a failed image build: which step, the last useful lines, the likely cause and its fix.

Standard library only: `make up` uses it before anything is installed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from preflight.engine.causes import NO_NETWORK, Stage, cause_in, with_cause


@dataclass(frozen=True)
class BuildFailure:
    """Why a build failed."""

    step: str
    last_lines: list[str]
    cause: str
    fix: str
    no_network: bool = False

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
    cause = cause_in(evidence, Stage.BUILD) or cause_in(output, Stage.BUILD)
    return BuildFailure(
        step,
        [line[:400] for line in with_cause(telling[-lines:], telling, lines, cause)],
        cause.what if cause else "not recognised",
        (cause.at_build if cause else None) or "read the lines above, then the full log",
        no_network=cause is NO_NETWORK,
    )


def progress_of(output: str) -> str:
    """A build's progress, from BuildKit's plain output so far: `building (step 4 of 9)`."""
    # "#8 [build 3/5] RUN …": each stage counts its own steps.
    titles = re.findall(r"^#\d+ \[(?:(\S+) +)?(\d+)/(\d+)\] (.+)$", output, re.M)
    if not titles:
        return "building"
    stage, step, of, what = titles[-1]
    named = f" of {stage}" if stage else ""
    return f"building (step {step} of {of}{named}): {what[:60]}"
