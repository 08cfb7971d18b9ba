"""A run of the suite must leave nothing behind and disturb no other run, however it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from preflight.engine.docker import docker
from preflight.engine.run import LABEL, remove_everything

ROOT = Path(__file__).resolve().parents[2]
# Starts the whole stack, and tests little of it.
USES_THE_STACK = "tests/stack/test_independence.py::test_shares_no_network_and_no_volume"
# Starts containers that belong to no stack.
STARTS_A_SPACE = "src/preflight/contract/test_start.py::test_serves[backend-py]"


class Pytest:
    """Another run of the suite, in a separate process."""

    def __init__(self, *arguments: str, environment: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "pytest",
                # Verbose, so that each kind of run names its folder first.
                *("-v", "-p", "no:cacheprovider", f"--junitxml={os.devnull}"),
                *arguments,
            ],
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.output = ""
        while not (found := re.search(r"preflight-[\w-]+", self.output)):
            line = self.process.stdout.readline()
            assert line, f"the run ended before it named its folder:\n{self.output}"
            self.output += line
        self.id = found.group()

    def wait(self) -> int:
        rest, _ = self.process.communicate(timeout=120)
        self.output += rest
        return self.process.returncode

    def wait_for_container(self, deadline: float = 60) -> None:
        """Return when the first container of the run exists."""
        end = time.monotonic() + deadline
        while not self.left("ps", "--all"):
            assert self.process.poll() is None, f"the run ended without a container:\n{self.output}"
            assert time.monotonic() < end, f"no container of {self.id} after {deadline:g} s"
            time.sleep(0.05)

    def left(self, *listing: str) -> list[str]:
        marks = [LABEL, "com.docker.compose.project"]
        return [
            name
            for mark in marks
            for name in docker(
                *listing, "--quiet", "--filter", f"label={mark}={self.id}"
            ).stdout.split()
        ]

    def everything_left(self) -> dict[str, list[str]]:
        kinds = {
            "containers": ("ps", "--all"),
            "networks": ("network", "ls"),
            "volumes": ("volume", "ls"),
            "images": ("image", "ls"),
        }
        return {kind: found for kind, listing in kinds.items() if (found := self.left(*listing))}


@pytest.fixture(scope="module")
def suite() -> Iterator[type[Pytest]]:
    """Starts runs of the suite; ends those that a failed test left running."""
    started: list[Pytest] = []

    class Tracked(Pytest):
        def __init__(self, *arguments: str, environment: dict[str, str] | None = None) -> None:
            super().__init__(*arguments, environment=environment)
            started.append(self)

    yield Tracked
    for child in started:
        if child.process.poll() is None:
            child.process.send_signal(signal.SIGINT)
            child.wait()


@pytest.mark.parametrize(
    ("name", "test"),
    [("SIGINT", USES_THE_STACK), ("SIGTERM", STARTS_A_SPACE)],
    ids=["SIGINT", "SIGTERM"],
)
def test_an_interrupted_run_must_leave_nothing(suite: type[Pytest], name: str, test: str) -> None:
    """Ctrl-C, and the end of a CI job, must remove containers, networks, volumes and images."""
    run = suite(test)
    run.wait_for_container()
    run.process.send_signal(signal.Signals[name])
    assert run.wait() == pytest.ExitCode.INTERRUPTED, run.output
    assert run.everything_left() == {}


def test_a_run_whose_engine_ends_must_stop_and_say_so(suite: type[Pytest], tmp_path: Path) -> None:
    """A run without an engine must stop with one line that says so, not with a stack trace."""
    host = docker("context", "inspect", "--format", "{{.Endpoints.docker.Host}}").stdout.strip()
    if not host.startswith("unix://"):
        pytest.skip(f"the engine is not on this machine: {host}")
    engine = tmp_path / "engine"
    engine.symlink_to(host.removeprefix("unix://"))
    run = suite(
        "src/preflight/contract/test_start.py", environment={"DOCKER_HOST": f"unix://{engine}"}
    )
    try:
        run.wait_for_container()
        engine.unlink()
        assert run.wait() == pytest.ExitCode.INTERRUPTED, run.output
        assert "THE CLEAN-UP FAILED" in run.output
        assert run.output.count("no Docker engine answers") == 1, run.output
        assert "INTERNALERROR" not in run.output and "_pytest" not in run.output, run.output
    finally:
        remove_everything(run.id)


@pytest.fixture(scope="module")
def killed(suite: type[Pytest]) -> Pytest:
    """A run that was killed at its first container."""
    run = suite(USES_THE_STACK)
    run.wait_for_container()
    run.process.kill()
    run.wait()
    assert run.everything_left(), "the killed run left nothing, so the test proves nothing"
    return run


@pytest.fixture(scope="module")
def following(suite: type[Pytest], killed: Pytest) -> Iterator[tuple[Pytest, Pytest]]:
    """Two finished concurrent runs after the killed run; the first leaves its stack by option."""
    runs = suite(USES_THE_STACK, "--reuse"), suite(USES_THE_STACK)
    for run in runs:
        run.wait()
    yield runs
    remove_everything(runs[0].id)


def test_two_runs_at_once_must_not_disturb_each_other(following: tuple[Pytest, Pytest]) -> None:
    """Two runs of one checkout must both pass, each with a separate stack."""
    first, second = following
    assert first.id != second.id
    assert first.process.returncode == pytest.ExitCode.OK, first.output
    assert second.process.returncode == pytest.ExitCode.OK, second.output
    assert second.everything_left() == {}


def test_a_killed_run_must_be_cleaned_up_by_the_next(
    killed: Pytest, following: tuple[Pytest, Pytest]
) -> None:
    """The next run must remove the remains of a killed run."""
    assert killed.everything_left() == {}


def test_a_kept_stack_must_serve_the_next_run(
    suite: type[Pytest], following: tuple[Pytest, Pytest]
) -> None:
    """`--reuse` must leave the stack up, and the next `--reuse` must use the same containers."""
    containers = sorted(following[0].left("ps"))
    assert containers, "--reuse left no container running"
    again = suite(USES_THE_STACK, "--reuse")
    assert again.wait() == pytest.ExitCode.OK, again.output
    assert sorted(again.left("ps")) == containers
