"""What all simulated people share: requests, streams, uploads and WebSockets, counted and timed."""

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

# Put aside for load tests, so no machine has it as its address. Source: RFC 2544 appendix C.2.2, RFC 6890
ADDRESSES = IPv4Network("198.18.0.0/15")
# Ends the name under which answers of the rate limiter are counted, apart from real answers.
LIMITED = " (429)"
# The same for answers of the edge while a Space wakes.
WAKING = " (waking)"


class Person(FastHttpUser):
    """A person in a browser.

    `space` is the name of the Space that they use: its URL comes from the option of the same name.
    Without one the URL is Locust's own --host, and request names are `METHOD /path`.
    """

    abstract = True
    space: ClassVar[str] = ""
    # Of the page from which they call, unless --origin says another.
    origin: ClassVar[str] = ""
    # Certificates are verified.
    insecure = False
    # Without these a Space that hangs would give no sample at all within a short run.
    connection_timeout = 5.0
    network_timeout = 10.0

    def __init__(self, environment: Environment) -> None:
        options: Any = environment.parsed_options
        self.host = target(environment, self.space).rstrip("/")
        self.care = care.of_space(options, self.space, self.host, arrivals.share(environment))
        self.expects_waking: bool = options.shape == "wake"
        self.ssl_context_factory = partial(trusting, options.ca)
        self.fixed_headers = _fixed_headers(self.host, options.origin or self.origin)
        self.due: float | None = None  # intended start of a visit that has not sent anything yet
        self.timetable = arrivals.of_kind(environment, type(self))
        if self.timetable:
            self.wait_time = self._next_arrival  # type: ignore[method-assign]
        super().__init__(environment)
        self.arrive()

    def on_start(self) -> None:
        """Locust's: before the first visit."""
        if self.timetable:
            # Locust ends at once who waits, and gives time to who is at work.
            self._state = LOCUST_STATE_WAITING
            self._next_arrival()
            self._state = LOCUST_STATE_RUNNING

    def arrive(self) -> None:
        """Become a new person: another address, no cookies. A Space limits each client address, so
        people who shared one would measure the limiter."""
        self.address = str(ADDRESSES[random.randrange(1, ADDRESSES.num_addresses - 1)])
        self.client.cookiejar.clear()

    def think(self) -> None:
        """Between two requests of a visit, as long as between two visits of the closed model."""
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
        """Send one request, counted as `METHOD space/path`, and return the JSON of the answer, or
        None where it is not JSON.

        body: `json=`, `data=` or `files=`, as Locust takes them. name: in the place of `path`.
        A status other than `expect`, or an AssertionError of `check`, is a failure and ends the
        visit (RescheduleTask), since the next step needs this one. So does a 429.
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
        """Read a stream as it comes, counted as `METHOD space/path`: the latency is to its end.

        The time to its first event, or to the first event `first`, is a figure of its own,
        `METHOD space/path (first)`. last: the event with which a stream has to end; None: any.
        until: leave at this event and close the connection; counted as `METHOD space/path (left)`.
        """
        name = self.space + (name or path) + (" (left)" if until else "")
        # Compressed, events could only be read at the end.
        headers = {"Accept-Encoding": "identity"}
        begin = time.perf_counter() - self._turn()
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
                        to_first = time.perf_counter() - begin
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
            answer.request_meta["response_time"] = (time.perf_counter() - begin) * 1000
            answer.release()  # closes the connection unless the stream is at its end
        if to_first is not None and not until:
            self._figure(method, name + FIRST, to_first)

    def websocket(
        self, path: str, message: str, *, check: Callable[[str], None] | None = None
    ) -> None:
        """Open a WebSocket, send a message, await its reply, close; counted as `WS space/path`: the
        latency is the reply's. The opening is a figure of its own, `WS space/path (connect)`."""
        begin = time.perf_counter() - self._turn()
        url = "ws" + str(self.host).removeprefix("http") + path
        headers = {k: v for k, v in self.headers().items() if k != "Origin"}
        secure = {"context": trusting(self.options.ca, None)} if url.startswith("wss") else None
        status, fault = 0, ""
        asked = begin
        try:
            connection = websocket.create_connection(
                url, timeout=self.network_timeout, header=headers, sslopt=secure,
                origin=self.fixed_headers.get("Origin"),
            )  # fmt: skip
            status, asked = 101, time.perf_counter()
            self._figure("WS", self.space + path + CONNECT, asked - begin)
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
        self._figure("WS", self.space + path, time.perf_counter() - asked, status, fault)
        if fault:
            raise RescheduleTask

    def headers(self) -> dict[str, str]:
        """The headers of each request. A Space of others gets no made-up client address."""
        return (
            self.fixed_headers
            if self.care
            else {"X-Forwarded-For": self.address, **self.fixed_headers}
        )

    def has_status(self, answer: Any, expected: int) -> bool:
        """Whether the answer has the status; else it is counted as what it is. A 429 is counted
        under a name of its own: it is quick and would flatter the percentiles. So is a 503 until
        the Space's first own answer, in a run that waits for it to wake."""
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
        """Send a request whose answer the caller judges, in a `with` statement."""
        return self.client.request(
            method, path, name=name, headers={**self.headers(), **(headers or {})}, catch_response=True, **how
        )  # fmt: skip

    def _next_arrival(self) -> float:
        """Wait for the next visit of the open model. Returns the seconds that Locust has to wait more."""
        assert self.timetable
        self.due = self.timetable.take()
        return 0.0

    def _turn(self) -> float:
        """Wait until a request may be sent. Returns the seconds since the intended start of the visit;
        0 after its first request, and in the closed model."""
        if self.care:
            self.care.wait()
        due, self.due = self.due, None
        return max(0.0, time.perf_counter() - due) if due is not None else 0.0

    def _figure(
        self, method: str, name: str, seconds: float, status: int | None = None, fault: str = ""
    ) -> None:
        """Count what Locust's client does not request. status: None where it is a part of one."""
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
    """The headers that a person sends to a URL each time."""
    headers = {"Origin": origin} if origin else {}
    token = os.environ.get("HF_TOKEN")
    if token and url.startswith("https://") and url.endswith(".hf.space"):
        # The Hub's edge reads this header and removes it. Source: hf-mcp-server pull request 249.
        headers["X-HF-Authorization"] = f"Bearer {token}"
    return headers


class Status:
    """An answer of which the status is known alone."""

    def __init__(self, status_code: int) -> None:
        self.status_code = status_code


def _read(answer: Any, check: Callable[[Any], None] | None) -> tuple[Any, str]:
    """The JSON of an answer, None where it is not JSON; and what is wrong with it."""
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
    """What ends an event: a blank line of server-sent events, a line otherwise."""
    kind = (answer.headers or {}).get("content-type") or ""
    return b"\n\n" if kind.startswith("text/event-stream") else b"\n"


def target(environment: Environment, space: str) -> str:
    """The URL of a Space in this run; empty when there is none."""
    options: Any = environment.parsed_options
    if not space:
        return environment.host or ""
    return getattr(options, space.replace("-", "_"), "") or ""


@cache
def trusting(authority: str, cafile: str | None) -> ssl.SSLContext:
    """Believes certificates of this authority alone, or where none is given of those in `cafile`."""
    return gevent.ssl.create_default_context(cafile=authority or cafile)


class Monitor(Person):
    """The platform or an uptime service: sees whether the rest of the load makes /health slow."""

    abstract = True
    # One for each Space, however many other people there are.
    fixed_count = 1
    wait_time = constant_throughput(4)

    @task
    def poll(self) -> None:
        self.call("GET", "/health", check=is_alive)


def is_alive(body: Any) -> None:
    """The check of a liveness answer."""
    assert body["status"] in ("ok", "degraded"), "unknown status"


# When a Space answered by itself for the first time in this run.
awake: dict[str, float] = {}


def is_awake(space: str) -> bool:
    """A second later than its first own answer: what the edge said before may still be on its way."""
    return space in awake and time.monotonic() > awake[space] + 1


def resolve(host: str, *arguments: Any, **options: Any) -> Any:
    """Names below `.localhost` are this machine (RFC 6761 section 6.3), whether the resolver knows
    it or not."""
    local = isinstance(host, str) and host.endswith(".localhost")
    return getaddrinfo("127.0.0.1" if local else host, *arguments, **options)


def send_at_once(_pool: ConnectionPool, connection: gevent.socket.socket) -> None:
    """The head and the body of a request are two writes, and after a TLS handshake the second would
    wait 40 ms for the acknowledgement of the first (Nagle's algorithm)."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


getaddrinfo = gevent.socket.getaddrinfo
# Once for Locust's client, once for what Locust has patched of the standard library.
gevent.socket.getaddrinfo = resolve  # type: ignore[assignment]
socket.getaddrinfo = resolve  # type: ignore[assignment]
# A hook for subclasses, but the client makes its pools itself. Source: geventhttpclient/connectionpool.py
ConnectionPool.after_connect = send_at_once  # type: ignore[method-assign, assignment]
