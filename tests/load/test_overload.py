"""A Space under more load than it can answer, and the effect on its neighbour.

The Spaces get less CPU than on the Hub: two of them and the generator fit on two cores, and their limits
stop them, not the machine. Times are therefore longer than on the Hub.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import psutil
import pytest
import requests

from preflight.engine.container import Container

from .pressure import Answer, Caller

pytestmark = pytest.mark.alone

SETTINGS = {
    "backend-py": {"RAG_MODE": "embedded"},
    "backend-node": {
        "BETTER_AUTH_SECRET": "test-secret-Xw7pQz2mN8rT4vB6yK1s",
        "BETTER_AUTH_URL": "http://localhost:7862",
        "DATABASE_URL": "sqlite:/home/node/auth.db",
    },
}
Start = Callable[..., Container]

# A program unrelated to the Spaces: it hashes passwords, with 32 MB and all of its CPU.
STRANGER = """
import hashlib
while True: hashlib.scrypt(b"password", salt=b"salt", n=16384, r=16, p=1, maxmem=2**26)
"""


@pytest.fixture
def start(start_space: Callable[..., Container]) -> Start:
    """`start("backend-py", 0.5)` returns that Space, ready, with half a CPU; `cpu` pins it to a CPU."""

    def started(name: str, cpus: float, cpu: int | None = None) -> Container:
        own = [] if cpu is None else [f"--cpuset-cpus={cpu}"]
        space = start_space(name, SETTINGS[name], [f"--cpus={cpus}", *own])
        space.wait_until_serving("/ready", status=200)
        return space

    return started


class Program:
    """A Python process with these arguments; the end of the `with` block kills it."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def keep_to(self, cpu: int) -> None:
        os.sched_setaffinity(self.process.pid, {cpu})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


class Pressure(Program):
    """pressure.py in a separate process."""

    def __init__(self, url: str, journey: str, rate: float, seconds: float) -> None:
        program = Path(__file__).with_name("pressure.py")
        super().__init__(str(program), url, journey, str(rate), str(seconds))

    def wait_for_callers(self) -> None:
        """Wait until all eight callers of rate 0 are connected."""
        process, end, connected = psutil.Process(self.process.pid), time.monotonic() + 10, 0
        while connected < 8:
            assert time.monotonic() < end, f"{connected} of 8 callers connected within 10 s"
            connected = sum(
                connection.status == psutil.CONN_ESTABLISHED
                for connection in process.net_connections("tcp")
            )
            time.sleep(0.01)

    def answers(self) -> list[Answer]:
        """Wait for all answers."""
        output, _ = self.process.communicate(timeout=60)
        return [Answer(*row) for row in json.loads(output)]


def paced(space: Container, path: str, seconds: float) -> list[float]:
    """Latencies in seconds of fifty requests a second, sent one after the other."""
    caller, taken = Caller(space.url), list[float]()
    started = time.perf_counter()
    while (due := started + len(taken) / 50) < started + seconds:
        time.sleep(max(0.0, due - time.perf_counter()))
        answer = caller.send(path)
        assert answer.status == 200, answer
        taken.append(answer.seconds)
    return taken


def own_address(space: Container) -> str:
    """The URL without the published port: the engine's proxy of that port would take CPU from the Spaces."""
    networks = space.inspection["NetworkSettings"]["Networks"].values()
    return f"http://{next(iter(networks))['IPAddress']}:{space.port}"


@contextmanager
def kept_to(cpu: int) -> Iterator[None]:
    """Run the caller on the CPU of the Space that answers: they take turns, and other work does not interfere."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def p95(url: str, work: list[str]) -> float:
    """The seconds (p95 of 20) in which a caller finishes `work`, a list of journeys."""
    caller, taken = Caller(url), list[float]()
    for _ in range(20):
        answers = [caller.send(journey) for journey in work]
        assert all(answer.status in (200, 401) for answer in answers), answers
        taken.append(sum(answer.seconds for answer in answers))
    return sorted(taken)[18]


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[int(len(values) * share)]


@pytest.mark.parametrize(
    # This generator can't send four times the capacity of a backend-py with two CPUs.
    ("name", "journey", "cpus"),
    [
        ("backend-node", "sign-up", 2),
        pytest.param("backend-py", "chat", 0.2, marks=pytest.mark.thorough),
    ],
)
def test_overload_must_be_refused_quickly_and_end_soon(
    start: Start, name: str, journey: str, cpus: float
) -> None:
    """At four times its capacity a Space must answer 503 or 429 with Retry-After, keep liveness within 100 ms
    (p99, with two CPUs) and recover within 5 s. Each caller whose sign-up was confirmed must be a user."""
    space = start(name, cpus)
    capacity = round(len(Pressure(space.url, journey, 0, 0.6).answers()) / 0.6)
    offered = 4 * capacity
    with Pressure(space.url, journey, offered, 1.2) as pressure:
        time.sleep(0.2)
        alive = paced(space, "/health", 1)
        answers = pressure.answers()
    ended = max(answer.due for answer in answers)
    last = max(answer.due + answer.seconds for answer in answers)
    refused = [answer for answer in answers if answer.status in (429, 503)]
    accepted = [answer for answer in answers if answer.status == 200]
    said = (
        f"{capacity}/s held, {offered}/s offered: {len(accepted)} answered, {len(refused)} refused "
        f"within {percentile([a.seconds for a in refused] or [0], 0.95):.2f} s (p95), the last "
        f"answer {last - ended:.1f} s after the load; /health p99 {percentile(alive, 0.99):.3f} s"
    )
    print(said)
    assert len(refused) + len(accepted) == len(answers), said
    assert len(refused) > len(answers) / 4, said
    assert all(answer.retry_after for answer in refused), said
    assert percentile([answer.seconds for answer in refused], 0.95) < 1.5, said
    assert last - ended < 5, said
    assert percentile(alive, 0.99) <= (0.1 if cpus == 2 else 1), said
    after = Pressure(space.url, journey, 10, 0.3).answers()
    assert [answer.status for answer in after] == [200] * 3, said
    assert max(answer.seconds for answer in after) < 1, said
    if journey == "sign-up":
        forgotten = [answer for answer in accepted if not knows(space, answer.cookie)]
        assert not forgotten, (
            f"{len(forgotten)} of {len(accepted)} confirmed sign-ups are not users"
        )


def knows(space: Container, cookie: str) -> bool:
    """Whether the account of this cookie exists."""
    session = requests.get(
        f"{space.url}/api/auth/get-session", headers={"Cookie": cookie}, timeout=10
    ).json()
    return bool(session and session["user"]["id"])


@pytest.mark.parametrize(
    ("loaded", "journey", "other", "work"),
    [
        ("backend-node", "sign-in", "backend-py", ["chat"] * 20),
        pytest.param("backend-py", "chat", "backend-node", ["sign-in"], marks=pytest.mark.thorough),
    ],
)
def test_full_load_on_a_space_must_not_slow_the_other(
    start: Start, loaded: str, journey: str, other: str, work: list[str]
) -> None:
    """The other Space's p95 must stay within 20 % of idle while each Space has a separate CPU.

    If an unrelated program on the first CPU slows the other Space as well, that counts as idle: the CPUs of a
    machine share a core, a cache or a host. The work takes 20 to 30 ms, because on a virtual machine a response
    of 1 ms varies by 1 ms without any load.
    """
    if (os.cpu_count() or 1) < 2 or not hasattr(os, "sched_setaffinity"):
        pytest.skip("needs two CPUs and Linux to pin each Space to a CPU")
    with ThreadPoolExecutor() as pool:
        starts = [pool.submit(start, loaded, 0.5, cpu=0), pool.submit(start, other, 1, cpu=1)]
    victim, neighbour = (own_address(future.result()) for future in starts)
    idle = stranger = beside = math.inf
    with kept_to(1):
        p95(neighbour, work)
        # The least p95 of each: other work can only add to it, and more rounds find a quiet moment.
        for number in range(20):
            idle = min(idle, p95(neighbour, work))
            with Program("-c", STRANGER) as program:
                program.keep_to(0)
                stranger = min(stranger, p95(neighbour, work))
            with Pressure(victim, journey, 0, 30) as pressure:
                pressure.keep_to(0)
                pressure.wait_for_callers()
                beside = min(beside, p95(neighbour, work))
            ratio = beside / max(idle, stranger)
            if number >= 2 and ratio <= 1.2:
                break
    said = (
        "{}: p95 {:.1f} ms idle, {:.1f} ms beside another program, {:.1f} ms beside full load on {}"
    )
    said = said.format(other, *(1000 * least for least in (idle, stranger, beside)), loaded)
    print(said)
    assert ratio <= 1.2, said
