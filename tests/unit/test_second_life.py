"""A second replica must be found to disturb the first one, or not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from preflight.engine.answering import NoAnswer, Silence
from preflight.engine.second_life import _difference, _written

RESET = NoAnswer("GET /", "the connection is reset")
ENDLESS = Silence("GET /", "the body does not end within 10 s")
SHORTER = Silence("GET /", "the body does not end within 2 s")


def replica(outcome: int | NoAnswer) -> Any:
    """A running container whose front page has this status, or fails in this way."""

    def get(path: str) -> SimpleNamespace:
        if isinstance(outcome, NoAnswer):
            raise outcome
        return SimpleNamespace(status_code=outcome)

    return SimpleNamespace(state={"Status": "running"}, get=get)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (RESET, 200, "the connection is reset; of the new: status 200"),
        (200, ENDLESS, "status 200; of the new: the body does not end within 10 s"),
        (503, 200, "status 503; of the new: status 200"),
    ],
)
def test_a_difference_between_replicas_must_be_found(
    old: int | NoAnswer, new: int | NoAnswer, said: str
) -> None:
    """The finding must say what each of the two answered."""
    assert _difference(replica(old), replica(new)) == f"GET / of the old replica: {said}"


@pytest.mark.parametrize(("old", "new"), [(200, 200), (RESET, RESET), (ENDLESS, SHORTER)])
def test_replicas_that_behave_alike_must_hold(old: int | NoAnswer, new: int | NoAnswer) -> None:
    """A second replica must not be blamed for a front page that fails in each replica."""
    assert _difference(replica(old), replica(new)) == ""


def test_caches_are_no_data_that_a_kill_loses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders that hold caches alone must not be listed either; data beside them must be."""
    diff = (
        "C /home\nA /home/user/.local\nA /home/user/.local/share\nA /home/user/.local/share/tool\n"
        "A /home/user/.local/share/tool/version_cache.json\nA /app/data\nA /app/data/app.db\n"
        "A /app/.pytest_cache\nA /app/.pytest_cache/v\nA /app/server.pid\n"
    )
    monkeypatch.setattr(
        "preflight.engine.second_life.docker", lambda *_: SimpleNamespace(stdout=diff)
    )
    replica: Any = SimpleNamespace(id="any")
    assert _written(replica) == ("/app/data/app.db",)
