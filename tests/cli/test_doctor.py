"""`preflight doctor` must name what this machine lacks, each with its fix."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

from preflight.engine.run import Run
from tests.cli.documents import typed


def doctor(**environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *shlex.split(typed("preflight doctor"))]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**os.environ, **environment}
    )


def test_a_machine_with_an_engine_must_pass(run: Run) -> None:
    done = doctor(HF_TOKEN="", HF_HOME="/nonexistent")
    assert done.returncode == 0, done.stdout
    assert "MISS" not in done.stdout
    for part in ("engine", "Compose", "Buildx", "platform", "disk", "git", "token"):
        assert f"  {part} " in done.stdout


def test_a_missing_engine_must_be_named_with_its_fix() -> None:
    done = doctor(DOCKER_HOST="tcp://127.0.0.1:9")
    assert done.returncode == 2
    assert "MISS  engine     no Docker engine answers" in done.stdout
    assert "fix: `preflight up` installs one" in done.stdout
    assert "Traceback" not in done.stderr


def test_no_secret_must_be_printed() -> None:
    done = doctor(HF_TOKEN="hf_s3cret", HF_ENDPOINT="http://127.0.0.1:9")
    assert "token      not accepted" in done.stdout
    assert "hf_s3cret" not in done.stdout + done.stderr
