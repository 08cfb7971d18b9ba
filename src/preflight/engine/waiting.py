"""Waits with a deadline. Each shows what it waits for, and reports what it last saw."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from preflight.engine import progress

Outcome = TypeVar("Outcome")


class NotYet(Exception):
    """The outcome is not clear yet. seen: what was seen instead. shown: the part of it to print."""

    def __init__(self, seen: str = "", shown: str | None = None) -> None:
        super().__init__(seen)
        self.shown = seen if shown is None else shown


class Overdue(Exception):
    """A deadline passed. what: what was awaited. seconds: how long. seen: what was seen last."""

    def __init__(self, what: str, seconds: float, seen: str) -> None:
        super().__init__(f"{what}: not within {seconds:g} s (last seen: {seen or 'nothing'})")
        self.what = what
        self.seconds = seconds
        self.seen = seen


def wait_until(
    what: str,
    deadline: float,
    look: Callable[[], Outcome],
    pause: float | Callable[[float], float] = 0.05,
) -> Outcome:
    """The result of `look`, as soon as it does not raise NotYet.

    what: what is awaited, for messages. deadline: seconds.
    pause: seconds between two calls, or a function of the seconds waited so far.
    Raises Overdue. Any other error of `look` also ends the wait.
    """
    began = time.monotonic()
    shown, shown_at = "", began
    while True:
        try:
            return look()
        except NotYet as error:
            seen, worth = str(error), error.shown
        waited = time.monotonic() - began
        if waited > deadline:
            raise Overdue(what, deadline, seen)
        line = f"{what}; {worth}" if worth else what
        if line != shown and time.monotonic() - shown_at > progress.EVERY_SECONDS:
            shown, shown_at = line, time.monotonic()
            progress.show(line)
        time.sleep(pause(waited) if callable(pause) else pause)
