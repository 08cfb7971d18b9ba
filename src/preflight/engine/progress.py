"""What a run waits for, shown while it waits. Standard library only."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EVERY_SECONDS = 1.0
"""A wait that ends sooner shows nothing."""

_show: Callable[[str], None] | None = None
_last = ""


def show_by(show: Callable[[str], None] | None) -> None:
    """Give each line of progress to `show`; None shows nothing, which is the default."""
    global _show, _last
    _show, _last = show, ""


def show(line: str) -> None:
    """Show one line, where anybody looks; several that wait for the same show it once."""
    global _last
    if _show and line != _last:
        _last = line
        _show(line)


@contextmanager
def shown(describe: Callable[[], str]) -> Iterator[None]:
    """While the block runs, show `describe()` once a second, each text once."""
    ended = threading.Event()

    def tell() -> None:
        last = ""
        while not ended.wait(EVERY_SECONDS):
            line = describe()
            if line and line != last:
                show(line)
                last = line

    if _show is None:
        yield
        return
    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join(timeout=EVERY_SECONDS)
