"""Probes that compare a server behind the edge with the same server at its own port."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

from preflight.engine.answering import Answering
from preflight.engine.container import Container
from preflight.engine.visitor import Answer, ask
from preflight.model.problems import Problem, Severity

# Paths of servers that check Host themselves, beside those that the Space names.
USUAL_PATHS = ("/mcp", "/mcp/", "/sse", "/api", "/docs", "/admin/")
# Messages of servers that refuse a host name.
_HOST_REFUSED = re.compile(
    r"invalid host|host not allowed|blocked request|blocked hosts?|disallowedhost|allowed_?hosts"
    r"|invalid http_host|untrusted host|host header|unknown host|misdirected",
    re.I,
)
_HEADER_ALARMS = re.compile(
    r"ERR_ERL_\w+|'?X-Forwarded-For'? header is set but|trust proxy'? setting is (true|false)"
    r"|X-Forwarded-\w+ .*(untrusted|not trusted|ignored)",
    re.I,
)
# Statuses of a host check, and statuses of an application that received the GET.
HOST_STATUSES = (400, 403, 421)
_OF_THE_APP = (401, 404, 405, 406)
_REMAINING = ("ratelimit-remaining", "x-ratelimit-remaining", "x-rate-limit-remaining")
STREAM_SECONDS = 4.0
MOST_LIMITED = 8


@dataclass(frozen=True)
class Refused:
    """A path that the Space serves for localhost and refuses for its public name."""

    path: str
    public: Answer
    local: Answer
    local_host: str


def refused_by_name(
    subject: Answering, container: Container, paths: Sequence[str]
) -> list[Refused]:
    """Paths whose answer is an error for the public name and another for localhost or an address."""
    port = urlsplit(container.url).port
    locals_ = ("localhost", f"localhost:{container.port}", f"127.0.0.1:{port}")

    def compared(path: str) -> Refused | None:
        public = ask(subject, path, {"Accept": "text/html,*/*"})
        # 429 and 5xx depend on the moment; 401 and 405 are answers of the application itself.
        # The edge answers 502 to 504 for a server that closes the connection: nginx's `return 444`.
        if public.status not in (*HOST_STATUSES, 404, 410, 502, 503, 504):
            return None
        for host in locals_:
            local = ask(container, path, {"Accept": "text/html,*/*", "Host": host})
            # An application that fails has received the request; a host check would have stopped it.
            refused_by_a_guard = public.status in HOST_STATUSES and (
                local.status in _OF_THE_APP or local.status >= 500
            )
            if 0 < local.status < 400 or refused_by_a_guard:
                again = ask(subject, path, {"Accept": "text/html,*/*"})
                same = again.status == public.status
                return Refused(path, public, local, host) if same else None
        return None

    with ThreadPoolExecutor(4) as pool:
        return [difference for difference in pool.map(compared, paths) if difference]


def names_the_host(front: Answer, container: Container) -> str:
    """The line of an error answer, or of the log, that gives the host name as the reason; empty without one."""
    if front.status < 400:
        return ""
    lines = [*front.text[:4000].splitlines(), *container.logs().splitlines()[-200:]]
    return next((line.strip()[:200] for line in lines if _HOST_REFUSED.search(line)), "")


def header_alarms(log: str) -> Iterator[Problem]:
    """Warnings in a log about the headers that the edge sends."""
    line = next(
        (text.strip()[:300] for text in log.splitlines() if _HEADER_ALARMS.search(text)), None
    )
    if line:
        yield Problem("no alarm in the log about X-Forwarded-For and X-Forwarded-Proto", line)


def shared_limit(
    direct: Answering, log: Callable[[], str], paths: Sequence[str]
) -> Iterator[Problem]:
    """A rate limit that counts two visitors as one, by the number of remaining requests in the answers.

    Two requests of one visitor show whether the path has a limit; a third comes from another visitor.
    """

    def left(path: str, visitor: str) -> int | None:
        answer = ask(direct, path, {"X-Forwarded-For": visitor})
        given = next((value for name in _REMAINING if (value := answer.header(name))), "")
        combined = re.search(r"\br(?:emaining)?=(\d+)", answer.header("RateLimit"))
        given = given or (combined.group(1) if combined else "")
        return int(given) if given.isdigit() else None

    for path in ["/", *paths][:MOST_LIMITED]:
        first, second = left(path, "203.0.113.7"), None
        if first is not None:
            second = left(path, "203.0.113.7")
        if first is None or second is None or second >= first:
            continue
        other = left(path, "198.51.100.9")
        if other is not None and other < second:
            yield Problem(
                "a limit of requests for each visitor, by the last entry of X-Forwarded-For",
                f"GET {path} says {first}, {second} requests are left to one visitor, then {other} "
                "to another: both are counted as one",
            )
            return


def stream_problems(subject: Answering, path: str, body: Any = None) -> list[Problem]:
    """A stream of events that arrives all at once, with or without gzip. With a JSON body, by POST."""
    line = f"{'GET' if body is None else 'POST'} {path}"
    with ThreadPoolExecutor(2) as pool:
        probe = partial(_streamed, subject, line, body)
        plain, packed = pool.map(probe, ("identity", "gzip"))
    problems = []
    if plain and plain.held_back:
        problems.append(_held_back(line, plain, ""))
    elif packed and packed.held_back and plain and plain.events > 1:
        problems.append(_held_back(line, packed, " with Accept-Encoding: gzip"))
    elif plain and plain.events and packed and not packed.events:
        problems.append(
            Problem(
                "the first event as soon as it happens, with Accept-Encoding: gzip too",
                f"{line} sends {plain.events} events within {STREAM_SECONDS:g} s, and none with "
                "Accept-Encoding: gzip",
            )
        )
    return problems


@dataclass(frozen=True)
class _Stream:
    """How a stream arrived: seconds to the first byte and to the end, and how many events came."""

    first: float
    end: float
    events: int

    @property
    def held_back(self) -> bool:
        """Whether several events of a slow stream arrived together at its end."""
        return self.events > 1 and self.end > 0.4 and self.first > 0.85 * self.end


def _streamed(subject: Answering, line: str, body: Any, encoding: str) -> _Stream | None:
    began, first, received = time.monotonic(), 0.0, b""
    method, path = line.split(" ", 1)
    headers = {"Accept": "text/event-stream", "Accept-Encoding": encoding}
    try:
        with subject.request(
            method, path, headers=headers, json=body, stream=True, timeout=STREAM_SECONDS
        ) as answer:
            if answer.status_code != 200 or "event-stream" not in answer.headers.get(
                "Content-Type", ""
            ):
                return None
            for chunk in answer.iter_content(None):
                first = first or time.monotonic() - began
                received += chunk
                if time.monotonic() - began > STREAM_SECONDS or len(received) > 1_000_000:
                    break
    except (requests.RequestException, urllib3.exceptions.HTTPError):
        pass
    end = time.monotonic() - began
    return _Stream(first or end, end, len(re.findall(rb"(?m)^data:", received)))


def _held_back(line: str, stream: _Stream, how: str) -> Problem:
    return Problem(
        f"the first event of {line} as soon as it happens{how}",
        f"{line}{how} sends {stream.events} events, the first after {stream.first:.1f} s and the "
        f"last after {stream.end:.1f} s: all at once",
    )


def websocket_problem(subject: Answering, path: str, host: str) -> Problem | None:
    """A WebSocket that opens without an Origin or for localhost, but not for the public page."""

    def opened(origin: str | None) -> Answer:
        headers = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "cHJlZmxpZ2h0LXByb2JlLTE=",
        }
        return ask(subject, path, headers | ({"Origin": origin} if origin else {}))

    public = opened(f"https://{host}")
    if public.status == 101 or public.status == 0:
        return None
    if public.status == 404:
        return Problem(
            f"a WebSocket at {path}, which the page opens",
            f"the handshake for {path} is answered with 404",
            "Serve it at that path, or correct the page's script.",
            severity=Severity.RISK,
        )
    for origin in (None, "http://localhost", "http://localhost:7860"):
        if opened(origin).status == 101:
            return Problem(
                f"a WebSocket at {path} for Origin: https://{host}",
                f"the handshake for {path} is answered with {public.outcome} for Origin: https://{host}, "
                f"and with 101 for {f'Origin: {origin}' if origin else 'none'}",
            )
    return None
