"""Sends a few hundred harmless requests, and measures what the app keeps afterwards: memory, descriptors, children."""

from __future__ import annotations

import http.client
import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

import psutil

from preflight.engine.container import Container
from preflight.engine.docker import docker
from preflight.model.hub_profile import HUB

AT_ONCE = 4
ROUND = 100
FEWEST_ROUNDS, MOST_ROUNDS = 3, 9
# Growth in a round that needs no further rounds: uncollected garbage, caches.
SLACK = 2_500_000
# In each of the last rounds, a leak adds about as much as in the round before.
STEADY = 4
DESCRIPTORS = 30
CHILDREN = 5
LONGEST = 12.0


@dataclass(frozen=True)
class Held:
    """What the processes of a container hold: bytes of memory, open descriptors, children not reaped.

    descriptors: None where this user may not count them.
    """

    memory: int
    descriptors: int | None
    unreaped: int


@dataclass(frozen=True)
class Burst:
    """The resources held before the first round of requests and after each; errors: statuses of 500 and above."""

    held: Sequence[Held]
    requests: int
    errors: int

    @property
    def peak(self) -> int:
        return max(sample.memory for sample in self.held)

    def grows(self, what: Callable[[Held], int | None], slack: float) -> int:
        """The growth of a value over the last rounds if it grew in each of them, else 0."""
        values = [value for sample in self.held if (value := what(sample)) is not None]
        steps = [after - before for before, after in itertools.pairwise(values)]
        last = steps[-STEADY:] if len(steps) > FEWEST_ROUNDS else steps[1:]
        if not last or min(last) < slack or min(last) < max(last) / 3:
            return 0
        return sum(last)


def burst(container: Container, path: str, host: str) -> Burst:
    """Send rounds of GET requests to the Space's port; more of them while something grows."""
    held, errors, sent = [held_by(container)], 0, 0
    end = time.monotonic() + LONGEST
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while len(held) <= MOST_ROUNDS and time.monotonic() < end:
            jobs = [pool.submit(_requests, container.url, path, host) for _ in range(AT_ONCE)]
            errors += sum(job.result() for job in jobs)
            sent += ROUND
            # A closed descriptor is released a moment later.
            time.sleep(0.05)
            held.append(held_by(container))
            if len(held) > FEWEST_ROUNDS and not suspicious(Burst(held, sent, errors)):
                break
    return Burst(held, sent, errors)


def suspicious(so_far: Burst) -> bool:
    """Whether a resource grew so much that further rounds must show whether it is a leak or a warm-up."""
    return bool(
        so_far.grows(lambda sample: sample.memory, SLACK)
        or so_far.grows(lambda sample: sample.descriptors, DESCRIPTORS)
        or so_far.grows(lambda sample: sample.unreaped, CHILDREN)
    )


def held_by(container: Container) -> Held:
    """What the container's processes hold now."""
    lines = docker("top", container.id, "-eo", "pid,rss", check=False).stdout.splitlines()[1:]
    rows = [line.split() for line in lines if len(line.split()) == 2]
    memory = sum(int(row[1]) for row in rows) * 1024
    processes = [int(row[0]) for row in rows]
    return Held(memory, _descriptors(processes), _unreaped(processes))


def _unreaped(processes: Sequence[int]) -> int:
    """Ended children of these processes; 0 where the engine is another machine's.

    The engine's own list leaves them out: an ended process is in no control group any more.
    """
    return sum(
        process.info["status"] == psutil.STATUS_ZOMBIE and process.info["ppid"] in processes
        for process in psutil.process_iter(["status", "ppid"])
    )


def _descriptors(processes: Sequence[int]) -> int | None:
    """Open descriptors of processes of this machine; None where the engine is elsewhere or forbids it."""
    count = 0
    for number in processes:
        try:
            count += int(psutil.Process(number).num_fds())
        except psutil.NoSuchProcess:
            continue
        except (psutil.AccessDenied, AttributeError):
            return None
    return count


def _requests(url: str, path: str, host: str) -> int:
    """A share of a round over one connection; returns how many were answered with 500 or above."""
    parts = urlsplit(url)
    errors = 0
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
    headers = {
        "Host": host,
        "X-Forwarded-Proto": "https",
        "X-Forwarded-For": "203.0.113.7",
        "Accept": "*/*",
    }
    end = time.monotonic() + LONGEST / MOST_ROUNDS
    for _ in range(ROUND // AT_ONCE):
        if time.monotonic() > end:
            break
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            left = HUB.memory // 10_000
            # `read` waits for all of the bytes that it is asked for, which a slow body may never send.
            while left > 0 and time.monotonic() < end and (part := answer.read1(min(left, 65536))):
                left -= len(part)
            errors += answer.status >= 500
            if not answer.isclosed():
                connection.close()
        except (OSError, http.client.HTTPException):
            connection.close()
            errors += 1
    connection.close()
    return errors
