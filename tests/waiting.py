"""Waits of the tests for a condition."""

from __future__ import annotations

from collections.abc import Callable

from preflight.engine.waiting import NotYet, wait_until


def eventually(what: str, seconds: float, condition: Callable[[], object]) -> None:
    """Return as soon as `condition()` is true. what: the condition, for the failure's message."""

    def look() -> None:
        if not condition():
            raise NotYet

    wait_until(what, seconds, look)
