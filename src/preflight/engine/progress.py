"""Shows what a run waits for. Standard library only."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EVERY_SECONDS = 1.0
"""A wait that ends sooner shows nothing."""

_show: Callable[[str], None] | None = None
_once = False
_shown: set[str] = set()


def show_by(show: Callable[[str], None] | None, *, once: bool = False) -> None:
    """Pass each line of progress to `show`; None, the default, shows nothing.

    once: show no line twice, as in a log. Otherwise a line is omitted only if it repeats the last line.
    """
    global _show, _once
    _show, _once = show, once
    _shown.clear()


def show(line: str) -> None:
    """Show one line, if a run shows progress. Several waits for the same outcome show it once."""
    if _show is None or line in _shown:
        return
    if not _once:
        _shown.clear()
    _shown.add(line)
    _show(line)


@contextmanager
def shown(describe: Callable[[], str]) -> Iterator[None]:
    """While the block runs, show `describe()` once a second, each text once."""
    ended = threading.Event()

    def repeat() -> None:
        last = ""
        while not ended.wait(EVERY_SECONDS):
            line = describe()
            if line and line != last:
                show(line)
                last = line

    if _show is None:
        yield
        return
    shower = threading.Thread(target=repeat, daemon=True)
    shower.start()
    try:
        yield
    finally:
        ended.set()
        shower.join(timeout=EVERY_SECONDS)
