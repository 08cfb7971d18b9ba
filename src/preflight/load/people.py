"""The base of all simulated people: counts and times requests, streams, uploads and WebSockets."""

from __future__ import annotations

import os
import random
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from functools import cache, partial
from ipaddress import IPv4Network
from typing import Any, ClassVar

import gevent.socket
import websocket
from geventhttpclient.connectionpool import ConnectionPool
from locust import FastHttpUser, constant_throughput, task
from locust.contrib.fasthttp import FAILURE_EXCEPTIONS
from locust.env import Environment
from locust.exception import RescheduleTask
from locust.user.task import LOCUST_STATE_RUNNING, LOCUST_STATE_WAITING

from preflight.load import arrivals, care
from preflight.load.slo import CONNECT, FIRST

# Reserved for load tests, so no machine has such an address. Source: RFC 2544 appendix C.2.2, RFC 6890
ADDRESSES = IPv4Network("198.18.0.0/15")
# Name suffix that separates the rate limiter's responses from the others.
LIMITED = " (429)"
# Name suffix of the edge's responses while a Space wakes.
WAKING = " (waking)"


class Person(FastHttpUser):
    """A person in a browser.

    `space` names the Space; its URL comes from the option of the same name. Without a name the URL is
    Locust's --host, and request names are `METHOD /path`.
    """

    abstract = True
    space: ClassVar[str] = ""
    # Origin of the page that calls the Space; --origin overrides it.
    origin: ClassVar[str] = ""
    # Locust then verifies certificates.
    insecure = False
    # Without these a Space that hangs gives no sample in a short run.
    connection_timeout = 5.0
    network_timeout = 10.0

    def __init__(self, environment: Environment) -> None:
        options: Any = environment.parsed_options
        self.host = target(environment, self.space).rstrip("/")
        self.care = care.of_space(options, self.space, self.host, arrivals.share(environment))
        self.expects_waking: bool = options.shape == "wake"
        self.ssl_context_factory = partial(trusting, options.ca)
        self.fixed_headers = _fixed_headers(self.host, options.origin or self.origin)
        self.due: float | None = None  # intended start of a visit without a request so far
        self.timetable = arrivals.of_kind(environment, type(self))
        if self.timetable:
            self.wait_time = self._next_arrival  # type: ignore[method-assign]
        super().__init__(environment)
        self.arrive()

    def on_start(self) -> None:
        """Called by Locust before the first visit."""
        if self.timetable:
            # At the end Locust stops waiting people at once and lets working people finish.
            self._state = LOCUST_STATE_WAITING
            self._next_arrival()
            self._state = LOCUST_STATE_RUNNING

    def arrive(self) -> None:
        """Become a new person: another address, no cookies. A Space limits each client address, so
        people with a shared address would measure the limiter."""
        self.address = str(ADDRESSES[random.randrange(1, ADDRESSES.num_addresses - 1)])
        self.client.cookiejar.clear()

    def think(self) -> None:
        """Pause between two requests of a visit, as long as between two visits of the closed model."""
        gevent.sleep(type(self).wait_time(self))

    def call(
        self,
        method: str,
        path: str,
        *,
        name: str = "",
        expect: int = 200,
        check: Callable[[Any], None] | None = None,
        **body: Any,
    ) -> Any:
        """Send a request, counted as `METHOD space/path`. Returns the JSON of the response, or None if it
        is not JSON.

        body: `json=`, `data=` or `files=`, as Locust takes them. name: replaces `path` in the name.
        A status other than `expect`, or an AssertionError of `check`, is a failure. It ends the visit
        (RescheduleTask), because the next step needs this step. A 429 ends the visit too.
        """
        done, content = False, None
        waited = self._turn()
        with self._send(method, path, self.space + (name or path), **body) as answer:
            answer.request_meta["response_time"] += waited * 1000
            if self.has_status(answer, expect):
                content, fault = _read(answer, check)
                if fault:
                    answer.failure(fault)
                else:
                    answer.success()
                    done = True
        if not done:
            raise RescheduleTask
        return content

    def upload(self, path: str, name: str, content: bytes, *, expect: int = 200) -> Any:
        """POST a file as the form field `file`, counted as `POST space/path`; returns as `call`."""
        return self.call("POST", path, expect=expect, files={"file": (name, content)})

    def stream(
        self,
        path: str,
        json: Any = None,
        *,
        method: str = "POST",
        name: str = "",
        first: str | None = None,
        until: str | None = None,
        last: str | None = "done",
    ) -> None:
        """Read a stream, counted as `METHOD space/path`. The latency lasts to the end of the stream.

        The time to its first event, or to the first event `first`, is a separate figure,
        `METHOD space/path (first)`. last: the last event of a complete stream; None: any.
        until: leave at this event and close the connection; counted as `METHOD space/path (left)`.
        """
        name = self.space + (name or path) + (" (left)" if until else "")
        # In a compressed stream, events would be readable only at the end.
        headers = {"Accept-Encoding": "identity"}
        start = time.perf_counter() - self._turn()
        with self._send(method, path, name, headers, json=json, stream=True) as answer:
            if not self.has_status(answer, 200):
                return
            events: list[str] = []
            to_first: float | None = None
            try:
                while frame := answer._response.readline(_end_of_frame(answer)):
                    if frame.startswith(b"event: "):
                        events.append(frame.split(b"\n")[0][7:].decode(errors="replace"))
                    if to_first is None and (first is None or first in events):
                        to_first = time.perf_counter() - start
                    if until and until in events:
                        break
            except FAILURE_EXCEPTIONS as error:
                answer.failure(f"the stream broke off: {error!r}")
            else:
                wanted = until or last
                if to_first is None:
                    answer.failure(f"the stream ended without {first or 'an event'}")
                elif wanted and events[-1:] != [wanted]:
                    answer.failure(f"the stream ended with {events[-1:]}")
                else:
                    answer.success()
            answer.request_meta["response_time"] = (time.perf_counter() - start) * 1000
            answer.release()  # closes the connection unless the stream has ended
        if to_first is not None and not until:
            self._figure(method, name + FIRST, to_first)

    def websocket(
        self, path: str, message: str, *, check: Callable[[str], None] | None = None
    ) -> None:
        """Open a WebSocket, send a message, wait for the reply, close; counted as `WS space/path`. The
        latency is that of the reply. The handshake is a separate figure, `WS space/path (connect)`."""
        start = time.perf_counter() - self._turn()
        url = "ws" + str(self.host).removeprefix("http") + path
        headers = {k: v for k, v in self.headers().items() if k != "Origin"}
        secure = {"context": trusting(self.options.ca, None)} if url.startswith("wss") else None
        status, fault = 0, ""
        sent = start
        try:
            connection = websocket.create_connection(
                url, timeout=self.network_timeout, header=headers, sslopt=secure,
                origin=self.fixed_headers.get("Origin"),
            )  # fmt: skip
            status, sent = 101, time.perf_counter()
            self._figure("WS", self.space + path + CONNECT, sent - start)
            connection.send(message)
            reply = connection.recv()
            if check:
                check(reply if isinstance(reply, str) else reply.decode(errors="replace"))
            connection.close()
        except websocket.WebSocketBadStatusException as error:
            status, fault = error.status_code, f"answered {error.status_code} instead of 101"
        except (OSError, websocket.WebSocketException, AssertionError) as error:
            fault = f"{type(error).__name__}: {error}"
        if self.care:
            self.care.saw(status, {})
        self._figure("WS", self.space + path, time.perf_counter() - sent, status, fault)
        if fault:
            raise RescheduleTask

    def headers(self) -> dict[str, str]:
        """The headers of each request. A target on another machine gets no synthetic client address."""
        return (
            self.fixed_headers
            if self.care
            else {"X-Forwarded-For": self.address, **self.fixed_headers}
        )

    def has_status(self, answer: Any, expected: int) -> bool:
        """Whether the response has the expected status; any other status is counted.

        A 429 is counted under a separate name: it is quick and would improve the percentiles. In a run
        that waits for the Space to wake, a 503 before the Space's first response is counted separately too.
        """
        status = answer.status_code
        if self.care:
            self.care.saw(status, answer.headers or {})
        if status == 429:
            answer.request_meta["name"] += LIMITED
            if "Retry-After" in (answer.headers or {}):
                answer.success()
            else:
                answer.failure("429 without Retry-After")
        elif status == 503 and self.expects_waking and not is_awake(self.space):
            answer.request_meta["name"] += WAKING
            answer.success()
        elif status and status != expected:
            answer.failure(f"answered {status} instead of {expected}")
        if status and status != 503:
            awake.setdefault(self.space, time.monotonic())
        return bool(status == expected)

    @property
    def options(self) -> Any:
        """The options of this run."""
        return self.environment.parsed_options

    def _send(
        self,
        method: str,
        path: str,
        name: str,
        headers: Mapping[str, str] | None = None,
        **how: Any,
    ) -> Any:
        """Send a request. The caller judges the response in a `with` statement."""
        return self.client.request(
            method, path, name=name, headers={**self.headers(), **(headers or {})}, catch_response=True, **how
        )  # fmt: skip

    def _next_arrival(self) -> float:
        """Wait for the next visit of the open model. Returns the further wait for Locust: 0 s."""
        assert self.timetable
        self.due = self.timetable.take()
        return 0.0

    def _turn(self) -> float:
        """Wait until a request may be sent. Returns the seconds since the intended start of the visit.
        They are 0 after the first request, and in the closed model."""
        if self.care:
            self.care.wait()
        due, self.due = self.due, None
        return max(0.0, time.perf_counter() - due) if due is not None else 0.0

    def _figure(
        self, method: str, name: str, seconds: float, status: int | None = None, fault: str = ""
    ) -> None:
        """Count a figure that Locust's client does not. status: None for a part of a request."""
        self.environment.events.request.fire(
            request_type=method,
            name=name,
            response_time=seconds * 1000,
            response_length=0,
            response=None if status is None else Status(status),
            context={},
            exception=Exception(fault) if fault else None,
        )


def _fixed_headers(url: str, origin: str) -> dict[str, str]:
    """The headers that every request to a URL has."""
    headers = {"Origin": origin} if origin else {}
    token = os.environ.get("HF_TOKEN")
    if token and url.startswith("https://") and url.endswith(".hf.space"):
        # The Hub's edge reads this header and removes it. Source: hf-mcp-server pull request 249.
        headers["X-HF-Authorization"] = f"Bearer {token}"
    return headers


class Status:
    """A response of which only the status is known."""

    def __init__(self, status_code: int) -> None:
        self.status_code = status_code


def _read(answer: Any, check: Callable[[Any], None] | None) -> tuple[Any, str]:
    """The JSON of a response, or None if it is not JSON; and the failure, or an empty text."""
    content = None
    kind = (answer.headers or {}).get("content-type")
    if answer.content and (kind is None or "json" in kind):
        try:
            content = answer.json()
        except ValueError as error:
            if kind:
                return None, f"the answer is not JSON: {error}"
    try:
        if check:
            check(content)
    except AssertionError as error:
        return content, str(error) or "the check failed"
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        return content, f"the answer has another shape: {type(error).__name__}: {error}"
    return content, ""


def _end_of_frame(answer: Any) -> bytes:
    """The end of an event: a blank line in server-sent events, else a line end."""
    kind = (answer.headers or {}).get("content-type") or ""
    return b"\n\n" if kind.startswith("text/event-stream") else b"\n"


def target(environment: Environment, space: str) -> str:
    """The URL of a Space in this run, or an empty text."""
    options: Any = environment.parsed_options
    if not space:
        return environment.host or ""
    return getattr(options, space.replace("-", "_"), "") or ""


@cache
def trusting(authority: str, cafile: str | None) -> ssl.SSLContext:
    """A TLS context that trusts only this authority, or without it the authorities in `cafile`."""
    return gevent.ssl.create_default_context(cafile=authority or cafile)


class Monitor(Person):
    """The platform or an uptime service: detects whether the load makes /health slow."""

    abstract = True
    # A single monitor for each Space, whatever the number of other people.
    fixed_count = 1
    wait_time = constant_throughput(4)

    @task
    def poll(self) -> None:
        self.call("GET", "/health", check=is_alive)


def is_alive(body: Any) -> None:
    """The check of a liveness response."""
    assert body["status"] in ("ok", "degraded"), "unknown status"


# The time of each Space's first response in this run, without the edge's.
awake: dict[str, float] = {}


def is_awake(space: str) -> bool:
    """Whether a Space woke more than a second ago: earlier responses of the edge may still arrive."""
    return space in awake and time.monotonic() > awake[space] + 1


def resolve(host: str, *arguments: Any, **options: Any) -> Any:
    """Resolve names below `.localhost` to this machine (RFC 6761 section 6.3), even if the resolver does
    not."""
    local = isinstance(host, str) and host.endswith(".localhost")
    return getaddrinfo("127.0.0.1" if local else host, *arguments, **options)


def send_at_once(_pool: ConnectionPool, connection: gevent.socket.socket) -> None:
    """Turn off Nagle's algorithm. The head and the body of a request are two writes, and after a TLS
    handshake the second would wait 40 ms for the acknowledgement of the first."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


getaddrinfo = gevent.socket.getaddrinfo
# Locust's client uses the first, the patched standard library the second.
gevent.socket.getaddrinfo = resolve  # type: ignore[assignment]
socket.getaddrinfo = resolve  # type: ignore[assignment]
# A hook for subclasses, but the client creates its pools itself. Source: geventhttpclient/connectionpool.py
ConnectionPool.after_connect = send_at_once  # type: ignore[method-assign, assignment]
