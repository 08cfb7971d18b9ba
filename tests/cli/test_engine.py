"""The engine's locks must keep conflicting builds apart."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from preflight.cli import up
from preflight.cli.stack import Service
from preflight.engine import image
from preflight.engine import install as engine
from preflight.engine.compose import Compose
from preflight.engine.run import Run


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [(False, False, True), (False, True, False), (True, False, False), (True, True, False)],
    ids=["two builds", "a fresh one after", "a fresh one before", "two fresh ones"],
)
def test_a_build_without_the_cache_must_run_alone(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    first: bool,
    second: bool,
    together: bool,
) -> None:
    """A build without the cache must run alone, other builds side by side: engines before 28 crash.

    The waiting process must print the reason.
    """
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    began = threading.Event()

    def build() -> None:
        with engine.building(no_cache=second):
            began.set()

    other = threading.Thread(target=build)
    with engine.building(no_cache=first):
        other.start()
        assert began.wait(10 if together else 0.3) == together
    other.join(10)
    assert began.is_set(), "the one that waited goes on"
    assert ("waiting for another process" in capsys.readouterr().out) != together


@pytest.mark.parametrize("fresh", [False, True])
def test_a_build_without_the_cache_must_request_the_exclusive_lock(
    monkeypatch: pytest.MonkeyPatch, run: Run, tmp_path: Path, fresh: bool
) -> None:
    class Asked(Exception):
        pass

    def ask(no_cache: bool) -> None:
        raise Asked(no_cache)

    monkeypatch.setattr("preflight.engine.install.building", ask)
    monkeypatch.setattr("preflight.engine.image.building", ask)
    with pytest.raises(Asked, match=str(fresh)):
        image.build(run, "asks", tmp_path, fresh=fresh)
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    monkeypatch.setattr("preflight.cli.up.LOGS", tmp_path / "up")
    service = Service("asks", tmp_path, [])
    with pytest.raises(Asked, match=str(fresh)):
        up._build(Compose([]), [service], pull=False, no_cache=fresh)
