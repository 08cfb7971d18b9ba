"""What all simulated people share. Locust loads every other file of this folder as a locustfile;
it leaves out names that begin with an underscore (Source: locust/util/directory.py)."""

import random
from collections.abc import Callable
from ipaddress import IPv4Network
from typing import Any, ClassVar

from locust import FastHttpUser, constant_throughput, task
from locust.env import Environment
from locust.exception import RescheduleTask

# Put aside for load tests, so it is nobody's address. Source: RFC 2544 appendix C.2.2, RFC 6890
ADDRESSES = IPv4Network("198.18.0.0/15")
# Ends the name under which answers of the rate limiter are counted, apart from real answers.
LIMITED = " (429)"


class Person(FastHttpUser):
    """A person in a browser. `space` is the compose service that they use; its URL comes from the
    option of the same name."""

    abstract = True
    space: ClassVar[str]
    # Without these a Space that hangs would give no sample at all within a short run.
    connection_timeout = 5.0
    network_timeout = 10.0

    def __init__(self, environment: Environment) -> None:
        options: Any = environment.parsed_options
        self.host = getattr(options, self.space.replace("-", "_")).rstrip("/")
        self.origin: str = options.origin
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

        A status other than `expect`, or an AssertionError of `check`, is a failure. A 429 is
        counted under a name of its own: it is quick and would flatter the percentiles. Both end
        the visit (RescheduleTask), since the next step needs this one.
        """
        name = self.space + path
        headers = {"X-Forwarded-For": self.address, "Origin": self.origin}
        done = False
        with self.rest(method, path, name=name, headers=headers, json=json) as answer:
            if answer.status_code == 429:
                answer.request_meta["name"] = name + LIMITED
                assert "Retry-After" in (answer.headers or {}), "429 without Retry-After"
                answer.success()
            elif answer.status_code == expect:
                if check:
                    check(answer.js)
                answer.success()
                done = True
            elif answer.status_code:
                answer.failure(f"answered {answer.status_code} instead of {expect}")
        if not done:
            raise RescheduleTask
        return answer.js


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
