"""How much one client, and all of them together, may ask for."""

import asyncio
import time
from collections import OrderedDict

# Whoever comes later is told at once to try again, instead of waiting ever longer with all others.
LONGEST_LINE = 0.25


class RateLimit:
    """A token bucket per key: `per_minute` at once, refilled evenly; 0 is no limit."""

    MOST_KEYS = 10_000

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str = "") -> float:
        """Takes one; 0 when that was allowed, else the seconds until it will be."""
        if not self._per_minute:
            return 0.0
        now = time.monotonic()
        tokens, seen = self._buckets.pop(key, (float(self._per_minute), now))
        tokens = min(self._per_minute, tokens + (now - seen) * self._per_minute / 60)
        allowed = tokens >= 1
        self._buckets[key] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > self.MOST_KEYS:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - tokens) * 60 / self._per_minute


class Line:
    """The requests that wait for the event loop, which makes one answer after the other."""

    def __init__(self) -> None:
        self._began = 0.0

    def is_long(self) -> bool:
        """Whether this round of the loop already takes too long for one more answer."""
        now = time.monotonic()
        if not self._began:
            self._began = now
            asyncio.get_running_loop().call_soon(self._come_round)
        return now - self._began > LONGEST_LINE

    def _come_round(self) -> None:
        self._began = 0.0
