"""People who use backend-node."""

from typing import Any
from uuid import uuid4

from locust import between, task

from loadtests._people import Monitor, Person


class Visitor(Person):
    """Signs up, looks around, signs out, mistypes the password, signs in, looks around."""

    space = "backend-node"
    # As for a Reader. Three of the twelve steps hash a password, a tenth of a second of CPU each:
    # far more than in real life, where sessions last for days, and still most steps are cheap.
    wait_time = between(0.1, 0.3)

    @task
    def visit(self) -> None:
        self.arrive()
        person = {"email": f"{uuid4().hex}@example.com", "password": uuid4().hex}
        self.call("POST", "/api/auth/sign-up/email", json={"name": "Visitor", **person})
        self.look_around()
        self.call("POST", "/api/auth/sign-out", json={})
        self.think()
        self.call("GET", "/api/auth/get-session", check=is_signed_out)
        self.think()
        wrong = {**person, "password": "mistyped"}
        self.call("POST", "/api/auth/sign-in/email", json=wrong, expect=401)
        self.think()
        self.call("POST", "/api/auth/sign-in/email", json=person)
        self.look_around()
        self.call("POST", "/api/auth/sign-out", json={})

    def look_around(self) -> None:
        """Three pages, each of which asks who is signed in."""
        for _ in range(3):
            self.think()
            self.call("GET", "/api/auth/get-session", check=is_signed_in)
        self.think()


class BackendNodeMonitor(Monitor):
    space = "backend-node"


def is_signed_in(body: Any) -> None:
    assert body and body["user"], "no session after signing in"


def is_signed_out(body: Any) -> None:
    assert body is None, "a session after signing out"
