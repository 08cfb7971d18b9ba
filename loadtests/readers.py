"""People who use backend-py."""

import random
from pathlib import Path
from typing import Any

from locust import between, task

from loadtests._people import Monitor, Person

QUESTIONS = Path(__file__).with_name("questions.txt").read_text().splitlines()


class Reader(Person):
    """Opens the page, asks, asks again, reads an answer as it comes, leaves during the next."""

    space = "backend-py"
    # Seconds, not the minutes that a real reader takes: one reader here stands for about a hundred,
    # and a run of ten seconds sees whole visits.
    wait_time = between(0.1, 0.3)

    @task
    def visit(self) -> None:
        self.arrive()
        self.call("GET", "/")
        self.think()
        question = random.choice(QUESTIONS)
        answer = self.ask(question)
        self.think()
        self.ask(
            "How do I fix that?",
            history=[
                {"role": "user", "content": question},
                {"role": "assistant", "content": answer["answer"][:4000]},
            ],
        )
        self.think()
        self.stream("/chat/stream", {"question": random.choice(QUESTIONS)})
        self.think()
        self.stream("/chat/stream", {"question": random.choice(QUESTIONS)}, until="delta")

    def ask(self, question: str, **more: Any) -> Any:
        return self.call("POST", "/chat", json={"question": question, **more}, check=has_answer)


class BackendPyMonitor(Monitor):
    space = "backend-py"


def has_answer(body: Any) -> None:
    assert body["answer"].strip(), "an empty answer"
    assert body["sources"] or not body["grounded"], "grounded without sources"
