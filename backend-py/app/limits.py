"""Limits on the requests of one client and of all clients together."""

import asyncio
import ipaddress
import math
import time
from collections import OrderedDict

# Seconds. A request that would wait longer is refused at once, which keeps the queue short.
LONGEST_LINE = 0.25
# Seconds that a refused client may go on sending: an immediate close would reset the connection,
# and the client would lose the refusal.
LINGER_SECONDS = 2.0
# A subscriber gets a whole /64, and with it a new address for each request.
# Source: RFC 6177, section 2.
SUBSCRIBER_PREFIX = 64


class RateLimit:
    """A token bucket per key: `per_minute` at once, refilled evenly; 0 means no limit.

    It uses the monotonic clock, so a change of the wall clock has no effect.
    """

    MOST_KEYS = 10_000

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str = "") -> float:
        """Takes one token; returns 0 if allowed, else the seconds until the next token."""
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
        """Headers with the tokens left. Source: draft-ietf-httpapi-ratelimit-headers."""
        if not self._per_minute:
            return []
        tokens, _ = self._buckets[key]
        full_again = math.ceil((self._per_minute - tokens) * 60 / self._per_minute)
        return [
            (b"ratelimit-policy", b'"client";q=%d;w=60' % self._per_minute),
            (b"ratelimit", b'"client";r=%d;t=%d' % (tokens, full_again)),
        ]


def client_key(headers: dict[bytes, bytes], peer: str, hops: int) -> str:
    """The key of a request's budget: its client's address, of IPv6 the /64 network.

    The address is the `hops`-th entry from the right of X-Forwarded-For. The client can forge the
    entries to its left. Source: MDN, X-Forwarded-For, "Security and privacy concerns".
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
    """The queue of requests for the event loop, which handles one at a time."""

    def __init__(self) -> None:
        self._started = 0.0

    def is_long(self) -> bool:
        """Whether this round of the loop has already lasted longer than LONGEST_LINE."""
        now = time.monotonic()
        if not self._started:
            self._started = now
            asyncio.get_running_loop().call_soon(self._come_round)
        return now - self._started > LONGEST_LINE

    def _come_round(self) -> None:
        self._started = 0.0
