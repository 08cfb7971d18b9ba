"""What all simulated people share. Locust loads every other file of this folder as a locustfile;
it leaves out names that begin with an underscore (Source: locust/util/directory.py)."""

import random
import ssl
import time
from collections.abc import Callable
from functools import cache, partial
from ipaddress import IPv4Network
from typing import Any, ClassVar

import gevent.socket
from locust import FastHttpUser, constant_throughput, task
from locust.contrib.fasthttp import FAILURE_EXCEPTIONS
from locust.env import Environment
from locust.exception import RescheduleTask

# Put aside for load tests, so it is nobody's address. Source: RFC 2544 appendix C.2.2, RFC 6890
ADDRESSES = IPv4Network("198.18.0.0/15")
# Ends the name under which answers of the rate limiter are counted, apart from real answers.
LIMITED = " (429)"
# The same for answers of the edge while a Space wakes.
WAKING = " (waking)"


class Person(FastHttpUser):
    """A person in a browser. `space` is the compose service that they use; its URL comes from the
    option of the same name."""

    abstract = True
    space: ClassVar[str]
    # Certificates are verified.
    insecure = False
    # Without these a Space that hangs would give no sample at all within a short run.
    connection_timeout = 5.0
    network_timeout = 10.0

    def __init__(self, environment: Environment) -> None:
        options: Any = environment.parsed_options
        self.host = getattr(options, self.space.replace("-", "_")).rstrip("/")
        self.origin: str = options.origin
        self.expects_waking: bool = options.shape == "wake"
        self.ssl_context_factory = partial(trusting, options.ca)
        super().__init__(environment)
        self.arrive()

    def arrive(self) -> None:
        """Become somebody new: another address, no cookies. A Space limits each client address, so
        people who shared one would measure the limiter."""
        self.address = str(ADDRESSES[random.randrange(1, ADDRESSES.num_addresses - 1)])
        self.client.cookiejar.clear()

    def think(self) -> None:
        """Between two requests of a visit, as long as between two visits."""
        self.wait()  # type: ignore[no-untyped-call]

    def call(
        self,
        method: str,
        path: str,
        *,
        expect: int = 200,
        check: Callable[[Any], None] | None = None,
        json: Any = None,
    ) -> Any:
        """Send one request, counted as `METHOD space/path`, and return the JSON of the answer.

        A status other than `expect`, or an AssertionError of `check`, is a failure and ends the
        visit (RescheduleTask), since the next step needs this one. So does a 429.
        """
        done = False
        with self.rest(
            method, path, name=self.space + path, headers=self.headers(), json=json
        ) as answer:
            if self.has_status(answer, expect):
                if check:
                    check(answer.js)
                answer.success()
                done = True
        if not done:
            raise RescheduleTask
        return answer.js

    def stream(self, path: str, json: Any, *, until: str | None = None) -> None:
        """Read an event stream to its end, counted as `POST space/path`, or close the connection at
        the first event `until`, counted as `POST space/path (left)`. The latency is to there."""
        name = self.space + path + (" (left)" if until else "")
        # Compressed, events could only be read at the end.
        headers = self.headers() | {"Accept-Encoding": "identity"}
        begin = time.perf_counter()
        with self.client.request(
            "POST", path, name=name, headers=headers, json=json, stream=True, catch_response=True
        ) as answer:
            if not self.has_status(answer, 200):
                return
            events = []
            try:
                while frame := answer._response.readline(b"\n\n"):
                    if frame.startswith(b"event: "):
                        events.append(frame.split(b"\n")[0][7:].decode())
                    if until in events:
                        break
            except FAILURE_EXCEPTIONS as error:
                answer.failure(f"the stream broke off: {error!r}")
            else:
                if events[-1:] == [until or "done"]:
                    answer.success()
                else:
                    answer.failure(f"the stream ended with {events[-1:]}")
            answer.request_meta["response_time"] = (time.perf_counter() - begin) * 1000
            answer.release()  # closes the connection unless the stream is at its end

    def headers(self) -> dict[str, str]:
        return {"X-Forwarded-For": self.address, "Origin": self.origin}

    def has_status(self, answer: Any, expected: int) -> bool:
        """Whether the answer has the status; else it is counted as what it is. A 429 is counted
        under a name of its own: it is quick and would flatter the percentiles. So is a 503 until
        the Space's first own answer, in a run that waits for it to wake."""
        status = answer.status_code
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


@cache
def trusting(authority: str, cafile: str) -> ssl.SSLContext:
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
    assert body["status"] in ("ok", "degraded"), "unknown status"


# When a Space answered by itself for the first time in this run.
awake: dict[str, float] = {}


def is_awake(space: str) -> bool:
    """A second later than its first own answer: what the edge said before may still be on its way."""
    return space in awake and time.monotonic() > awake[space] + 1


def resolve(host: str, *arguments: Any, **options: Any) -> Any:
    """Names below `.localhost` are this machine (RFC 6761 section 6.3), whether the resolver knows
    it or not."""
    local = host.endswith(".localhost")
    return getaddrinfo("127.0.0.1" if local else host, *arguments, **options)


getaddrinfo = gevent.socket.getaddrinfo
gevent.socket.getaddrinfo = resolve  # type: ignore[assignment]
