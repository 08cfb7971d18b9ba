"""What people do with the Spaces. The load runs these journeys as thousands of visits, and
tests/load/test_journeys.py walks each once. Nothing here needs Locust."""

import random
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

# Origin of the page that calls both Spaces; compose.yaml allows it.
ORIGIN = "http://localhost:3000"
QUESTIONS = Path(__file__).with_name("questions.txt").read_text().splitlines()


class Visit(Protocol):
    """A user's visit to a Space, with a separate client address and cookies."""

    def arrive(self) -> None:
        """Become a new user."""

    def think(self) -> None:
        """Pause between two requests."""

    def call(
        self,
        method: str,
        path: str,
        *,
        expect: int = 200,
        check: Any = None,
        json: Any = None,
    ) -> Any:
        """Send a request and return the JSON of the response. Ends the visit if the status is not
        `expect`, or if `check`, called with that JSON, raises an AssertionError."""

    def stream(
        self, path: str, json: Any, *, first: str | None = None, until: str | None = None
    ) -> None:
        """Read an event stream to its event `done`, or leave at the first event `until`. The time to
        the first event `first` is a separate figure."""


def read(visit: Visit) -> None:
    """Open the page, send two questions, read a streamed answer, leave during the next."""
    visit.arrive()
    visit.call("GET", "/")
    visit.think()
    question = random.choice(QUESTIONS)
    answer = _ask(visit, question)
    visit.think()
    _ask(
        visit,
        "How do I fix that?",
        history=[
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer["answer"][:4000]},
        ],
    )
    visit.think()
    visit.stream("/chat/stream", {"question": random.choice(QUESTIONS)}, first="delta")
    visit.think()
    visit.stream("/chat/stream", {"question": random.choice(QUESTIONS)}, until="delta")


def sign_up_and_in(visit: Visit) -> None:
    """Sign up, look around, sign out, mistype the password, sign in, look around."""
    visit.arrive()
    person = {"email": f"{uuid4().hex}@example.com", "password": uuid4().hex}
    visit.call("POST", "/api/auth/sign-up/email", json={"name": "Visitor", **person})
    _look_around(visit, person["email"])
    visit.call("POST", "/api/auth/sign-out", json={})
    visit.think()
    visit.call("GET", "/api/auth/get-session", check=is_signed_out)
    visit.think()
    wrong = {**person, "password": "mistyped"}
    visit.call("POST", "/api/auth/sign-in/email", json=wrong, expect=401)
    visit.think()
    visit.call("POST", "/api/auth/sign-in/email", json=person)
    _look_around(visit, person["email"])
    visit.call("POST", "/api/auth/sign-out", json={})


def _ask(visit: Visit, question: str, **more: Any) -> Any:
    return visit.call("POST", "/chat", json={"question": question, **more}, check=is_answered)


def _look_around(visit: Visit, email: str) -> None:
    """Load three pages, each of which reads the session, then get a token for another service."""

    def is_signed_in(body: Any) -> None:
        assert body, "no session after signing in"
        assert body["user"]["email"] == email, "another user's session"

    for _ in range(3):
        visit.think()
        visit.call("GET", "/api/auth/get-session", check=is_signed_in)
    visit.think()
    visit.call("GET", "/api/auth/token", check=is_token)
    visit.think()


def is_answered(body: Any) -> None:
    assert body["answer"].strip(), "an empty answer"
    assert body["sources"] or not body["grounded"], "grounded without sources"


def is_signed_out(body: Any) -> None:
    assert body is None, "a session after signing out"


def is_token(body: Any) -> None:
    assert body["token"].count(".") == 2, "no JWT"
