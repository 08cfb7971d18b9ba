"""Care for targets on other machines: limits the rate, and obeys 429 and 5xx."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import gevent
import psutil

MOST_RATE = 20.0  # requests a second, unless --max-rate sets another rate
MOST_SECONDS = 60
# 5xx responses in a row that end the load on a target on another machine.
BURST = 5
# Seconds of a Retry-After that are obeyed; a run there is no longer.
LONGEST_PAUSE = 60.0


class NotYours(ValueError):
    """A target is on another machine, and the options do not allow the load."""


def is_own(url: str) -> bool:
    """Whether a URL is on this machine: its loopback, one of its addresses, `.localhost`, or a name
    without a dot, such as a Compose service."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host
    own = {a.address for found in psutil.net_if_addrs().values() for a in found}
    return address.is_loopback or str(address) in own


def check(options: Any, targets: Mapping[str, str], rate: float, seconds: float) -> None:
    """Raise NotYours unless the options allow the planned load on the targets.

    rate: the highest rate of arrivals, 0 in the closed model. seconds: the length of the run.
    """
    others = [url for url in targets.values() if url and not is_own(url)]
    if not others:
        return
    if not options.yes_load_this:
        raise NotYours(
            f"{others[0]} is not this machine's. A load test of another machine needs its owner's "
            "consent; with the consent, add --yes-load-this"
        )
    most = options.max_rate or MOST_RATE
    if rate > most:
        raise NotYours(
            f"{others[0]} is not this machine's: --rate {rate:g} is more than {most:g} requests a "
            f"second; lower it, or allow it with --max-rate {rate:g}"
        )
    if not options.max_rate and not 0 < seconds <= MOST_SECONDS:
        raise NotYours(
            f"{others[0]} is not this machine's: a run takes at most {MOST_SECONDS} s there (-t "
            f"{MOST_SECONDS}s), unless --max-rate sets a rate"
        )


class Care:
    """The limits of a generator process for a target on another machine; all its people share them.

    rate: requests a second that this process may make.
    """

    def __init__(self, rate: float) -> None:
        self._pause = 1 / rate
        self._next = self._silent_until = 0.0
        self.errors = 0  # 5xx responses in a row

    @property
    def burst(self) -> bool:
        """Whether the Space answered 5xx too often in a row; the load on it has ended."""
        return self.errors >= BURST

    def wait(self) -> None:
        """Wait for this request's turn; forever after a burst."""
        while True:
            now = time.monotonic()
            self._next = mine = max(now, self._next + self._pause, self._silent_until)
            gevent.sleep(mine - now)
            while self.burst:
                gevent.sleep(1)
            # A 429 may have arrived meanwhile.
            if time.monotonic() >= self._silent_until:
                return

    def saw(self, status: int, headers: Mapping[str, str]) -> None:
        """Obey a response: a 429 pauses all people for its Retry-After, and 5xx are counted."""
        self.errors = self.errors + 1 if status >= 500 else 0
        if status == 429:
            text = headers.get("Retry-After") or "1"
            seconds = min(float(text), LONGEST_PAUSE) if text.isdigit() else 10.0
            self._silent_until = max(self._silent_until, time.monotonic() + seconds)
            self._next = 0.0


# The cares of the current run, by the Space's name.
cares: dict[str, Care] = {}


def of_space(options: Any, space: str, url: str, share: float) -> Care | None:
    """The care for a Space; None on this machine. share: this process's share of the load."""
    if is_own(url):
        return None
    if space not in cares:
        cares[space] = Care((options.max_rate or MOST_RATE) * share)
    return cares[space]
