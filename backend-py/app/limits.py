"""How many requests one client, and all clients together, may send."""

import asyncio
import ipaddress
import math
import time
from collections import OrderedDict

# A request that would wait longer is refused at once, so that the wait of all others stays short.
LONGEST_LINE = 0.25
# How long a client that is refused may go on sending: closing on it would reset the connection, and
# the refusal would be lost.
LINGER_SECONDS = 2.0
# What one subscriber is given, so that each of its addresses would be a new budget.
# Source: RFC 6177, section 2.
SUBSCRIBER_PREFIX = 64


class RateLimit:
    """A token bucket per key: `per_minute` at once, refilled evenly; 0 is no limit.

    Time is the monotonic clock's: setting the wall clock gives nobody a budget or a longer wait.
    """

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

    def headers(self, key: str = "") -> list[tuple[bytes, bytes]]:
        """What is left after `take`. Source: draft-ietf-httpapi-ratelimit-headers."""
        if not self._per_minute:
            return []
        tokens, _ = self._buckets[key]
        full_again = math.ceil((self._per_minute - tokens) * 60 / self._per_minute)
        return [
            (b"ratelimit-policy", b'"client";q=%d;w=60' % self._per_minute),
            (b"ratelimit", b'"client";r=%d;t=%d' % (tokens, full_again)),
        ]


def client_key(headers: dict[bytes, bytes], peer: str, hops: int) -> str:
    """Whose budget a request counts against: its client's address, of IPv6 the /64 network.

    That is the `hops`-th entry from the right of X-Forwarded-For. The entries to its left are
    whatever the client sent. Source: MDN, X-Forwarded-For, "Security and privacy concerns".
    """
    entries = headers.get(b"x-forwarded-for", b"").decode("latin-1").split(",")
    entry = entries[-hops].strip() if hops and len(entries) >= hops else ""
    return _canonical(entry or peer)


def _canonical(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.IPv6Network((int(parsed), SUBSCRIBER_PREFIX), strict=False))
    return str(parsed)


class Line:
    """The requests that wait for the event loop, which makes one answer at a time."""

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
