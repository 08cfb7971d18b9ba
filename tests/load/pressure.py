"""Sends more requests than a Space can answer, without Locust and each from another address.

    python pressure.py URL JOURNEY RATE SECONDS

JOURNEY is `sign-up`, `sign-in` or `chat`. RATE does not depend on the speed of the responses. With RATE 0, eight
callers each wait for their response. Prints a JSON list with an Answer for each request.
"""

import http.client
import json
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from queue import SimpleQueue
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from uuid import uuid4

PATIENCE = 20
MOST_AT_ONCE = 400
QUESTION = (
    "My server listens on 127.0.0.1 and the Space never gets past Starting. What should I change?"
)


class Answer(NamedTuple):
    due: float  # second at which the request was due
    seconds: float
    status: int  # 0: no response
    retry_after: str | None
    cookie: str


class Caller:
    """A persistent connection to a Space."""

    def __init__(self, url: str) -> None:
        target = urlsplit(url)
        self._connection = http.client.HTTPConnection(
            str(target.hostname), target.port, timeout=PATIENCE
        )

    def send(self, journey: str, due: float = 0.0) -> Answer:
        """Send the request of a journey, or GET a path."""
        method, path, body = "GET", journey, None
        unknown = {"email": f"{uuid4().hex}@example.com", "password": "correct horse"}
        if journey == "sign-up":
            method, path, body = "POST", "/api/auth/sign-up/email", {"name": "Ada", **unknown}
        elif journey == "sign-in":  # of an unknown user: the Space hashes the password anyway
            method, path, body = "POST", "/api/auth/sign-in/email", unknown
        elif journey == "chat":  # a question with a history is not cached
            said: Any = [{"role": "assistant", "content": "Hello."}]
            method, path, body = "POST", "/chat", {"question": QUESTION, "history": said}
        address = f"198.18.{random.randrange(256)}.{random.randrange(256)}"
        headers = {"Content-Type": "application/json", "X-Forwarded-For": address}
        began = time.perf_counter()
        try:
            sent = json.dumps(body) if body else None
            self._connection.request(method, path, sent, headers)
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return Answer(due, time.perf_counter() - began, 0, None, "")
        cookie = (answer.headers["Set-Cookie"] or "").partition(";")[0]
        taken = time.perf_counter() - began
        return Answer(due, taken, answer.status, answer.headers["Retry-After"], cookie)


def at_a_rate(url: str, journey: str, rate: float, seconds: float) -> list[Answer]:
    """Send at a rate. A request's wait for a free caller counts as part of its latency."""
    idle: SimpleQueue[Caller] = SimpleQueue()
    for _ in range(MOST_AT_ONCE):
        idle.put(Caller(url))

    def send(due: float) -> Answer:
        caller = idle.get()
        waited = time.perf_counter() - began - due
        answer = caller.send(journey, due)
        idle.put(caller)
        return answer._replace(seconds=answer.seconds + waited)

    began = time.perf_counter()
    with ThreadPoolExecutor(MOST_AT_ONCE) as pool:
        answers = []
        for number in range(int(rate * seconds)):
            due = number / rate
            time.sleep(max(0.0, began + due - time.perf_counter()))
            answers.append(pool.submit(send, due))
        return [answer.result() for answer in answers]


def one_after_the_other(url: str, journey: str, seconds: float) -> list[Answer]:
    began = time.perf_counter()

    def send_repeatedly(caller: Caller) -> list[Answer]:
        answers = []
        while (due := time.perf_counter() - began) < seconds:
            answers.append(caller.send(journey, due))
        return answers

    with ThreadPoolExecutor(8) as pool:
        return [*chain(*pool.map(send_repeatedly, [Caller(url) for _ in range(8)]))]


if __name__ == "__main__":
    url, journey, rate, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
    if rate:
        print(json.dumps(at_a_rate(url, journey, rate, seconds)))
    else:
        print(json.dumps(one_after_the_other(url, journey, seconds)))
