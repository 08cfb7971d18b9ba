"""Hadolint's findings in a Dockerfile."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from preflight.model.problems import Problem, Severity

OFF = {
    "DL3006": "a separate check covers untagged base images",
    "DL3007": "a separate check covers `latest`",
    "DL3025": "a separate check covers the shell form",
    "DL3008": "Debian removes old package versions, so a pinned apt package breaks the next build",
    "DL3018": "Alpine removes old package versions, so a pinned apk package breaks the next build",
    "DL3021": "it reads the target of `COPY a b .` as a file; BuildKit reads it as a folder",
    "DL3059": "steps stay separate for the layer cache and their comments",
}
"""Hadolint's rules that are off, each with the reason."""


def installed() -> Path | None:
    """The path of hadolint, beside this Python or on the PATH; None if it is not installed."""
    # Works in a virtual environment that is not activated.
    beside = Path(sys.executable).parent / "hadolint"
    found = shutil.which("hadolint")
    return beside if beside.is_file() else Path(found) if found else None


def problems(program: Path, folder: Path, *, timeout_s: float = 30) -> list[Problem]:
    """Hadolint's errors and, as advice, its warnings, for the Dockerfile in `folder`.

    Raises:
        OSError, subprocess.SubprocessError: when hadolint cannot run or does not end in time.
    """
    off = [f"--ignore={rule}" for rule in OFF]
    # Hadolint 2.15 stops at this flag of Docker 25 and would judge nothing.
    text = (folder / "Dockerfile").read_text(encoding="utf-8", errors="replace")
    done = subprocess.run(
        [str(program), "--no-color", "--format=json", "--no-fail", *off, "-"],
        input=re.sub(r"--start-interval=\S+", "", text),
        cwd=folder,
        capture_output=True,
        timeout=timeout_s,
        check=True,
        text=True,
    )
    found = []
    for alarm in json.loads(done.stdout):
        error = alarm["level"] == "error"
        # DL1000 is a Dockerfile that hadolint can't read. BuildKit reads more, such as here-documents.
        if alarm["level"] in ("error", "warning") and alarm["code"] != "DL1000":
            found.append(
                Problem(
                    "no hadolint error" if error else "no hadolint warning",
                    f"{alarm['code']} {alarm['message']}",
                    severity=None if error else Severity.ADVICE,
                    file="Dockerfile",
                    line=alarm["line"],
                )
            )
    return found
