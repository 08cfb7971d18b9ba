"""More requests than a Space can answer, without Locust: from many addresses, at a steady rate however slowly
the answers come.

    python pressure.py URL JOURNEY RATE SECONDS

JOURNEY is `sign-up`, `sign-in` or `chat`. Prints one JSON list: a row for each request with the second of its
start, its seconds, its status (0: no answer), its Retry-After, and what proves a sign-up (its cookie).
"""

import http.client
import json
import random
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "sign-up": ("/api/auth/sign-up/email", {"name": "Ada", "password": "correct horse"}),
    # Nobody's: the password is hashed all the same.
    "sign-in": ("/api/auth/sign-in/email", {"password": "correct horse"}),
    # A history keeps the cache out of it.
    "chat": ("/chat", {"history": [{"role": "assistant", "content": "Hello."}]}),
}
QUESTION = (
    "My server listens on 127.0.0.1 and the Space never gets past Starting. What should I change?"
)
PATIENCE = 20

url, journey, rate, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
target = urlsplit(url)
path, fields = BODIES[journey]
own = threading.local()
began = time.perf_counter()


def ask(due: float) -> tuple[float, float, int, str | None, str]:
    body: dict[str, Any] = {**fields}
    body |= {"question": QUESTION} if journey == "chat" else {"email": f"{uuid4().hex}@example.com"}
    address = ".".join(str(random.randrange(256)) for _ in range(2))
    headers = {"Content-Type": "application/json", "X-Forwarded-For": f"198.18.{address}"}
    if not hasattr(own, "connection"):
        own.connection = http.client.HTTPConnection(
            str(target.hostname), target.port, timeout=PATIENCE
        )
    try:
        own.connection.request("POST", path, json.dumps(body), headers)
        answer = own.connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException):
        own.connection.close()
        return due, time.perf_counter() - began - due, 0, None, ""
    taken = time.perf_counter() - began - due
    cookie = (answer.headers["Set-Cookie"] or "").partition(";")[0]
    return due, taken, answer.status, answer.headers["Retry-After"], cookie


with ThreadPoolExecutor(400) as pool:
    answers = []
    for number in range(int(rate * seconds)):
        due = number / rate
        time.sleep(max(0.0, began + due - time.perf_counter()))
        answers.append(pool.submit(ask, due))
    print(json.dumps([answer.result() for answer in answers]))
