"""The start: the Space listens where the Hub asks, answers, needs no more than it gets, and stays up."""

from __future__ import annotations

from pathlib import Path

from preflight.findings import material, violated
from preflight.rehearsal import HUB
from preflight.space import Space
from preflight.subject import Start


def test_serves(space: Space, started: Start) -> None:
    """Within its time, on 2 CPUs and with nothing cached, the Space answers HTTP on `app_port`, on all interfaces, and goes on running.

    On the Hub: Launch timed out, workload was not healthy after 30 min; or "Runtime error"

    Fix: Listen on 0.0.0.0 and `app_port` first, then load models and reach dependencies.
    """
    if started.failure:
        if started.log:
            material(Path(started.log))
        violated(
            expected=f"an HTTP answer on port {space.app_port} within {HUB.start_deadline:g} s, and no end after it",
            actual=f"{started.failure.kind}: {started.failure.actual}",
            fix=started.failure.fix,
            symptom=started.failure.symptom,
        )
