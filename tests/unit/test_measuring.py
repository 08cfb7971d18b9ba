"""A measurement that other work on the machine disturbed must be repeated."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from preflight.contract import test_health as health
from preflight.contract.findings import Violation

SLOW, FAST = 0.4, 0.001


def judged(monkeypatch: pytest.MonkeyPatch, *measured: float) -> None:
    """Judge a /health with these successive measurements, on a machine where any other server is fast."""
    own: Any = SimpleNamespace(port=7860)
    rounds = iter(measured)
    monkeypatch.setattr(health, "best_p99", lambda server: next(rounds) if server is own else FAST)
    health.test_answers_fast(own, lambda port: SimpleNamespace(port=port))  # type: ignore[arg-type, return-value]


def test_a_slow_measurement_must_get_a_second_try(monkeypatch: pytest.MonkeyPatch) -> None:
    judged(monkeypatch, SLOW, FAST)


def test_two_slow_measurements_must_be_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Violation, match="400 ms"):
        judged(monkeypatch, SLOW, SLOW)
