"""A second replica of a Space: beside the first, after a kill, and at its end."""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from preflight.engine.answering import NoAnswer
from preflight.engine.container import Container, Exit, NotServing
from preflight.engine.docker import docker
from preflight.model.hub_profile import HUB

# Files that every start makes again, so nothing is lost with them: caches, logs, locks, sockets.
CACHES = (
    r"^/(tmp|run|var/(run|log|cache))(/|$)|/__pycache__|\.(pyc|pid|sock|ctl|lock|log)$"
    r"|/\.(npm|config|gunicorn)(/|$)|/[^/]*cache[^/]*(/|$)|/(site-packages|dist-packages|node_modules)/"
)


@dataclass(frozen=True)
class SecondLife:
    """The outcome of a second replica. A later part is None when an earlier part stopped it.

    beside: what keeps the two from serving at once; empty when they do.
    restart: why it does not serve again after SIGKILL; empty when it does.
    written: files that its restart had to find again. answer: the first bytes of the answer to the
    request in flight at SIGTERM. end: how it then ended, None when it did not.
    drops_sigterm: nothing in it handles SIGTERM, so it was not waited for.
    """

    beside: str
    restart: str | None = None
    written: tuple[str, ...] = ()
    answer: bytes | None = None
    end: Exit | None = None
    drops_sigterm: bool = False


def lived(first: Container, second: Container, deadline: float) -> SecondLife:
    """Run `second` through its life while `first` serves. The caller removes both.

    deadline: seconds of each start.
    """
    try:
        second.wait_until_serving(deadline=deadline)
    except NotServing as error:
        return SecondLife(str(error))
    beside = _difference(first, second)
    second.signal("SIGKILL")
    second.wait_for_exit(HUB.stop_deadline)
    second.start_again()
    try:
        second.wait_until_serving(deadline=deadline)
    except NotServing as error:
        return SecondLife(beside, str(error))
    written = _written(second)
    drops = second.drops_sigterm()
    answer = _answer_at_the_end(second)
    end = None if drops else second.wait_for_exit(HUB.stop_deadline)
    return SecondLife(beside, "", written, answer, end, drops)


def _written(replica: Container) -> tuple[str, ...]:
    """Files and empty folders that the replica made and that are more than caches."""
    diff = docker("diff", replica.id).stdout.splitlines()
    added = [line[2:] for line in diff if line.startswith("A ")]
    folders = {str(parent) for path in added for parent in PurePosixPath(path).parents}
    return tuple(path for path in added if path not in folders and not re.search(CACHES, path))


def _difference(first: Container, second: Container) -> str:
    for name, replica in (("old", first), ("new", second)):
        if replica.state["Status"] != "running":
            return replica.describe(f"({name} replica) ended")
    (old, said), (new, said_by_new) = map(_answer, (first, second))
    # Where both fail alike, the reason is not the other replica: start.answers_in_http reports it.
    return "" if old == new else f"GET / of the old replica: {said}; of the new: {said_by_new}"


def _answer(replica: Container) -> tuple[int | type[NoAnswer], str]:
    """The status of GET /, or the kind of failure; and the same in words."""
    try:
        status = replica.get("/").status_code
    except NoAnswer as error:
        return type(error), error.reason
    return status, f"status {status}"


def _answer_at_the_end(container: Container) -> bytes:
    """Send SIGTERM while a request is in flight; the first bytes of its answer, or what came instead."""
    url = urlsplit(container.url)
    head = f"POST / HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n"
    try:
        with socket.create_connection(
            (url.hostname or "", url.port or 80), timeout=HUB.stop_deadline
        ) as connection:
            # The body is complete only after the signal, so the server has started on it and can't have ended the request.
            connection.sendall(head.encode() + b'{"a"')
            # A server of one request at a time does not answer meanwhile.
            with suppress(NoAnswer):
                container.get("/", timeout=1)
            container.signal("SIGTERM")
            connection.sendall(b": 1}")
            return connection.recv(64)
    except NoAnswer as error:
        return str(error).encode()
    except OSError as error:
        return f"no answer: {error.strerror or error}".encode()
