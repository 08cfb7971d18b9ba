"""Whether a start that does not answer yet may still serve."""

from __future__ import annotations

import re
import time

from preflight.engine.answering import NoAnswer, Silence
from preflight.engine.causes import plain
from preflight.engine.container import Container, NotServing
from preflight.engine.docker import docker
from preflight.engine.observer import SYN_SENT, Listener
from preflight.model.hub_profile import HUB

# Seconds of CPU that a process may use for housekeeping while it waits for requests.
IDLE_CPU_SECONDS = 1


class Fate:
    """Called while a Space with an observed network starts; describes what it does before it answers.

    Raises NotServing where waiting longer changes nothing: the app's port is bound to loopback
    alone; or, for `HUB.elsewhere` seconds, it listens on other ports alone, or answers each request
    on its own with what is not HTTP, and does nothing new: no new kind of line in its log, no new
    connection, no thread more or less, no work of the CPU.
    """

    def __init__(self, container: Container) -> None:
        self._container = container
        self._wrong, self._idle = Stillness(container), Stillness(container)
        self._decided = False

    def works(self) -> bool:
        """Whether the container, which does not serve yet, is still at work: by its CPU or new kinds of lines."""
        if self._decided:
            return False
        lines, (_, before, _) = _kinds_of_lines(self._container), _threads(self._container)
        busy = 0
        for _ in range(6):
            time.sleep(0.5)
            _, cpu, working = _threads(self._container)
            busy += working
        worked = busy > 3 or cpu - before > IDLE_CPU_SECONDS
        return worked or _kinds_of_lines(self._container) != lines

    def until_idle(self, failure: NoAnswer | None) -> str:
        """Like a call, and raises NotServing when the container has been idle for three times `HUB.elsewhere`."""
        shown = self(failure)
        if self._idle.lasts(()) >= 3 * HUB.elsewhere:
            raise NotServing(self._container.describe("has become idle and does not serve"))
        return f"{shown or 'no answer yet'}; it is still at work"

    def __call__(self, failure: NoAnswer | None) -> str:
        container = self._container
        if container.observer is None:
            return ""
        listening, connections = container.observer.sockets()
        on_port = [listener for listener in listening if listener.port == container.port]
        if on_port and all(listener.loopback for listener in on_port):
            self._decided = True
            raise NotServing(container.describe(f"listens on {_listed(on_port)} alone"))
        elsewhere = [listener for listener in listening if listener.port != container.port]
        # A server that is not ready accepts connections and stays silent; a wrong server answers.
        wrong = failure is not None and not isinstance(failure, Silence) if on_port else elsewhere
        if not wrong or any(connection.startswith(SYN_SENT) for connection in connections):
            self._wrong = Stillness(container)
        elif self._wrong.lasts((frozenset(listening), connections)) >= HUB.elsewhere:
            self._decided = True
            what = f"answers {failure}" if on_port else f"listens on {_listed(elsewhere)} alone"
            raise NotServing(container.describe(what))
        if on_port:
            silent = failure is None or isinstance(failure, Silence)
            return f"the port is open; {'no answer yet' if silent else failure}"
        return f"it listens on {_listed(elsewhere)}" if elsewhere else "it listens on no port yet"


class Stillness:
    """How long a container has done nothing new: no thread more or less, no kind of line, no work of the CPU."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._seen: object = None
        self._since, self._cpu = 0.0, 0

    def lasts(self, sockets: object) -> float:
        """Seconds without a change, of its sockets either."""
        threads, cpu, working = _threads(self._container)
        seen = (sockets, threads, _kinds_of_lines(self._container))
        now = time.monotonic()
        if working or seen != self._seen or cpu - self._cpu > IDLE_CPU_SECONDS:
            self._seen, self._since, self._cpu = seen, now, cpu
        return now - self._since


def _threads(container: Container) -> tuple[int, int, bool]:
    """How many threads a container has, the seconds of CPU that they have used, and whether one of
    them works: it runs, waits for a CPU, or for the disk. Source: ps(1), process state codes."""
    listed = docker("top", container.id, "-eLo", "pid,cputimes,stat", check=False).stdout
    rows = [line.split() for line in listed.splitlines()[1:]]
    working = any(state[0] in "RD" for _, _, state in rows)
    return len(rows), sum(int(used) for _, used, _ in rows), working


def _kinds_of_lines(container: Container) -> frozenset[str]:
    """The kinds of lines at the end of its log, without numbers: a repeated line is not new."""
    lines = plain(container.logs(tail=200)).splitlines()
    return frozenset(re.sub(r"\d+", "0", line)[:300] for line in lines)


def _listed(listening: list[Listener]) -> str:
    return ", ".join(map(str, listening))
