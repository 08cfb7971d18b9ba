"""Waits with a deadline, their output, and reading a container's log as it grows."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from preflight.engine import progress
from preflight.engine.build_log import progress_of
from preflight.engine.docker import DockerTimeout, docker, follow
from preflight.engine.image import stand_in
from preflight.engine.run import Run
from preflight.engine.waiting import NotYet, Overdue, wait_until

PYTHON = "python:3.11-slim-bookworm"


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The texts that a wait prints, without its usual delay."""
    shown: list[str] = []
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.05)
    progress.show_by(shown.append)
    yield shown
    progress.show_by(None)


def test_a_wait_ends_with_the_outcome(lines: list[str]) -> None:
    """A wait must end as soon as the outcome is clear, and print its goal and each state once."""
    began = time.monotonic()

    def look() -> str:
        if time.monotonic() - began < 0.3:
            raise NotYet("port 3000")
        return "there"

    assert wait_until("waits for port 7860", 5, look, 0.01) == "there"
    assert time.monotonic() - began < 2
    assert lines == ["waits for port 7860; port 3000"]


def test_a_wait_has_a_deadline() -> None:
    """A wait must end at its deadline; the error must have the last state as fields."""

    def look() -> None:
        raise NotYet("status 503")

    with pytest.raises(Overdue) as overdue:
        wait_until("an answer", 0.1, look, 0.01)
    assert (overdue.value.what, overdue.value.seen) == ("an answer", "status 503")


def test_another_error_must_end_a_wait() -> None:
    def look() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        wait_until("anything", 60, look)


def test_a_block_shows_how_far_it_is(lines: list[str]) -> None:
    """Each text must be printed once, and none after the block."""
    with progress.shown(lambda: "step 1 of 2"):
        time.sleep(0.3)
    assert lines == ["step 1 of 2"]
    time.sleep(0.1)
    assert lines == ["step 1 of 2"]


def test_a_log_must_not_repeat_a_line(lines: list[str]) -> None:
    """Two waits that alternate must print each line once in a log; a terminal omits direct repeats only."""
    for line in ("a", "b", "a", "a"):
        progress.show(line)
    assert lines == ["a", "b", "a"]
    logged: list[str] = []
    progress.show_by(logged.append, once=True)
    for line in ("a", "b", "a", "a"):
        progress.show(line)
    assert logged == ["a", "b"]


def test_a_build_must_show_its_step() -> None:
    output = "#1 [internal] load\n#5 [build 2/9] COPY a .\n#6 [build 4/9] RUN pip install x\n#6 0.5 said\n"
    assert progress_of(output) == "building (step 4 of 9 of build): RUN pip install x"
    assert progress_of("#7 [3/3] CMD x\n") == "building (step 3 of 3): CMD x"
    assert progress_of("") == "building"


@pytest.fixture
def printing(run: Run) -> Iterator[str]:
    """A container that prints a line, and then nothing for a minute."""
    container = docker(
        "run", "--detach", *run.labels, "--network=none", stand_in(PYTHON) or PYTHON,
        "python", "-uc", "import time; print('first'); time.sleep(60)",
    ).stdout.split()[-1]  # fmt: skip
    yield container
    docker("rm", "--force", container, check=False)


def test_a_followed_log_has_a_deadline(printing: str) -> None:
    """Each line must come as it is printed; silence must end at the deadline."""
    began = time.monotonic()
    lines = follow(printing, deadline=20)
    assert next(lines) == "first\n"
    assert time.monotonic() - began < 15
    lines.close()
    with pytest.raises(DockerTimeout):
        list(follow(printing, deadline=2))
