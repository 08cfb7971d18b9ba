"""The one way to wait: with a deadline, a word on what is awaited and on what was last seen."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from preflight.engine import progress

Outcome = TypeVar("Outcome")


class NotYet(Exception):
    """The outcome is not clear yet. seen: what was seen instead. shown: what of it is worth a line."""

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
    """What `look` returns, as soon as it does not raise NotYet.

    what: what is awaited, for people. deadline: seconds.
    pause: seconds between two looks, or a function of the seconds waited so far.
    Raises Overdue; whatever else `look` raises ends the wait as well.
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
