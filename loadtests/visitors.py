"""People who use backend-node."""

from typing import Any
from uuid import uuid4

from locust import between, task

from loadtests._people import Monitor, Person


class Visitor(Person):
    """Signs up, comes back with the session, signs out, mistypes the password, signs in."""

    space = "backend-node"
    # As for a Reader. Sign-up, the mistyped and the right password hash once each, about 30 ms of
    # CPU: eight steps per visit keep hashing near a third of what visitors ask for.
    wait_time = between(0.1, 0.3)

    @task
    def visit(self) -> None:
        self.arrive()
        person = {"email": f"{uuid4().hex}@example.com", "password": uuid4().hex}
        self.call("POST", "/api/auth/sign-up/email", json={"name": "Visitor", **person})
        self.think()
        self.call("GET", "/api/auth/get-session", check=is_signed_in)
        self.think()
        self.call("POST", "/api/auth/sign-out", json={})
        self.think()
        self.call("GET", "/api/auth/get-session", check=is_signed_out)
        self.think()
        wrong = {**person, "password": "mistyped"}
        self.call("POST", "/api/auth/sign-in/email", json=wrong, expect=401)
        self.think()
        self.call("POST", "/api/auth/sign-in/email", json=person)
        self.think()
        self.call("GET", "/api/auth/get-session", check=is_signed_in)
        self.think()
        self.call("POST", "/api/auth/sign-out", json={})


class BackendNodeMonitor(Monitor):
    space = "backend-node"


def is_signed_in(body: Any) -> None:
    assert body and body["user"], "no session after signing in"


def is_signed_out(body: Any) -> None:
    assert body is None, "a session after signing out"
