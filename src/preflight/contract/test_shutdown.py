"""Shutdown and restart: a Space exits on SIGTERM, loses no answer, and starts again."""

from __future__ import annotations

import re
import signal

import pytest

from preflight.contract.findings import report, violated
from preflight.engine.image import Image
from preflight.engine.rehearsal import Rehearsal
from preflight.engine.second_life import SecondLife
from preflight.model.hub_profile import HUB
from preflight.model.problems import Problem, Severity

# A Space that does not start is one finding: start.serves.
pytestmark = pytest.mark.usefixtures("container")

# A process without a handler, behind an init that hands the signal on. Source: POSIX, a shell's exit status.
ENDED_BY_SIGTERM = 128 + signal.SIGTERM
# Paths of data rather than caches: SQLite and other embedded databases.
DATA = r"\.(db|sqlite3?|duckdb|mdb|rdb)$|/chroma|/qdrant"


@pytest.fixture(scope="session")
def second_life(image: Image, rehearsal: Rehearsal) -> SecondLife:
    """The life of a second replica of the Space."""
    life = rehearsal.second_life()
    if life is None:
        pytest.skip("not checked: the Space does not start, see start.serves")
    return life


@pytest.fixture
def ended(second_life: SecondLife) -> SecondLife:
    """The same, if the replica served until it got SIGTERM."""
    if second_life.answer is None:
        pytest.skip(
            "not checked: the replica did not serve, see shutdown.two_replicas_serve_at_once"
        )
    return second_life


def test_two_replicas_serve_at_once(second_life: SecondLife) -> None:
    """A new replica starts while the old replica still serves, as in every update.

    Severity: breaks

    On the Hub: the update never gets ready, and the old version keeps serving (stage RUNNING_APP_STARTING)

    Fix: Do not make a start depend on an exclusive lock, port or file that the running replica holds.

    Source: huggingface_hub: the stage RUNNING_APP_STARTING.
    """
    if second_life.beside:
        violated(
            expected="two replicas that serve at once, with the same answer",
            actual=second_life.beside,
        )


def test_starts_again_after_a_kill(second_life: SecondLife) -> None:
    """After SIGKILL, the same container serves again: nothing on its disk prevents a start.

    Severity: risk; advice without conventions

    On the Hub: nothing if each start gets a new container; otherwise "Runtime error" once the Space has run out of memory

    Fix: Ignore or delete the pid files, locks and incomplete files of an earlier process.

    Source: ours: whether the Hub restarts a container is unknown.
    """
    if second_life.restart is None:
        pytest.skip("not checked: see shutdown.two_replicas_serve_at_once")
    if second_life.restart:
        violated(expected="an answer after SIGKILL and a restart", actual=second_life.restart)
    if written := second_life.written:
        data = [path for path in written if re.search(DATA, path)]
        shown = ", ".join([*data, *(path for path in written if path not in data)][:5])
        report(
            Problem(
                "no file on the disk that a restart loses",
                f"this Space wrote {shown}" + (" …" if len(written) > 5 else ""),
                "Keep data in an external service, or in a Storage Bucket that the Space's settings mount.",
                "data is lost at each restart, rebuild and sleep",
                severity=Severity.RISK if data else Severity.ADVICE,
            )
        )


def test_ends_on_sigterm(ended: SecondLife) -> None:
    """On SIGTERM, the Space exits with code 0 or 143 before it is killed.

    Severity: risk; advice without conventions

    On the Hub: every restart and update cuts visitors' requests off, and data that is written at exit is lost

    Fix: Use the exec form of CMD, so that the server is PID 1, and handle SIGTERM.

    Source: Docker sends SIGTERM, then SIGKILL; the Hub's own grace period is unknown.
    """
    end, fix = ended.end, None
    if ended.drops_sigterm:
        actual = "the container's first process has no handler for SIGTERM, so the kernel drops it"
    elif end is None:
        actual = f"still running after {HUB.stop_deadline:g} s"
    elif end.code in (0, ENDED_BY_SIGTERM):
        return
    else:
        actual = f"exit code {end.code} after {end.seconds:.1f} s"
        fix = "End with code 0 on SIGTERM: another code looks like a crash."
    violated(
        expected=f"exit code 0 within {HUB.stop_deadline:g} s of SIGTERM", actual=actual, fix=fix
    )


def test_finishes_requests_in_flight(ended: SecondLife) -> None:
    """A request in flight at SIGTERM still gets its answer.

    Severity: risk; advice without conventions

    On the Hub: "502 Bad Gateway" or "Failed to fetch" for some visitors at every update

    Fix: Stop accepting connections, finish the requests in flight, then exit. Most servers do this if they receive SIGTERM.

    Source: Docker sends SIGTERM, then SIGKILL; the Hub's own grace period is unknown.
    """
    answer = ended.answer or b""
    if answer.startswith(b"HTTP/1."):
        return
    actual = answer.decode(errors="replace") or "the connection was closed without an answer"
    violated(expected="an HTTP answer to the request in flight", actual=actual)
