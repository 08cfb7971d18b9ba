"""A Space's observed network: its connections from the first packet on, and its listening sockets.

`assets/egress` runs in a separate container, which owns the network namespace and the published
port; the Space's container joins it. It refuses the ports that the Hub's profile blocks.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from preflight.engine import install as engine
from preflight.engine.docker import DockerError, DockerTimeout, docker, follow
from preflight.engine.image import build_own
from preflight.engine.run import Run
from preflight.model.hub_profile import HUB

FOLDER = Path(__file__).with_name("assets") / "egress"
# The port at which a dependency that accepts and never answers may be rehearsed ("discard", RFC 863).
SILENT_PORT = 9
READY_DEADLINE = 20
MOST_NAMES = 3
HUB_NAME = "huggingface.co"
UNRESOLVED = """
import socket, sys
for name in sys.argv[1:]:
    try:
        socket.getaddrinfo(name, 443)
    except OSError:
        print(name)
"""


@dataclass(frozen=True)
class Connection:
    """An outgoing connection that was attempted; `names` are the host names looked up before it."""

    address: str
    port: int
    protocol: str
    refused: bool
    names: tuple[str, ...]

    def __str__(self) -> str:
        looked_up = f" (looked up before: {', '.join(self.names[-3:])})" if self.names else ""
        protocol = "" if self.protocol == "tcp" else f" by {self.protocol.upper()}"
        return f"{self.address} port {self.port}{protocol}{looked_up}"


@dataclass(frozen=True)
class Listener:
    """A listening TCP socket."""

    address: str
    port: int

    @property
    def loopback(self) -> bool:
        return ipaddress.ip_address(self.address).is_loopback

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"


class Observer:
    """The container that owns a Space's network."""

    def __init__(self, container_id: str) -> None:
        self.id = container_id

    @classmethod
    def start(cls, run: Run, port: int, silent: bool = False, failing: bool = False) -> Observer:
        """Start watching, with `port` published on this machine.

        silent: also accept connections on loopback port 9 and never answer them, until `break_off`.
        failing: also answer every HTTP request to `port` with 500, in the place of a Space.
        Raises DockerError when the observer ends or does not get ready within 20 s.
        """
        address = "127.0.0.1" if engine.host() == "127.0.0.1" else "0.0.0.0"
        image = build_own(run, "egress", FOLDER)
        arguments = [f"{allowed}" for allowed in HUB.outbound_ports]
        arguments += [f"--silent={SILENT_PORT}"] if silent else []
        arguments += [f"--failing={port}"] if failing else []
        done = docker(
            "run", "--detach", *run.labels, "--no-healthcheck", "--cap-add=NET_ADMIN", "--memory=64m",
            f"--publish={address}::{port}", image.tag, *arguments,
        )  # fmt: skip
        observer = cls(done.stdout.split()[-1])
        try:
            with closing(follow(observer.id, READY_DEADLINE)) as lines:
                ready = next(lines, "")
        except DockerTimeout:
            ready = ""
        if not ready:
            state = docker("inspect", "--format", "{{.State.Status}}", observer.id).stdout.strip()
            said = docker("logs", observer.id, check=False).stderr
            observer.remove()
            raise DockerError(f"the network observer does not get ready ({state}): {said[-500:]}")
        return observer

    def connections(self) -> list[Connection]:
        """The Space's connections so far, each address and port once, without loopback and name servers."""
        names: list[str] = []
        found = []
        for report in self._reports():
            if "name" in report:
                names.append(str(report["name"]))
            elif "address" in report:
                port = int(str(report["port"]))
                refused, protocol = bool(report["refused"]), str(report["protocol"])
                address = str(report["address"])
                found.append(Connection(address, port, protocol, refused, tuple(names)))
        return found

    def unresolved(self) -> list[str]:
        """Host names that the Space looked up and that have no address here, on a machine that does not resolve the
        Hub's name either. Empty on a machine with a network, whose name server can tell."""
        public = [name for name in self._looked_up() if "." in name][:MOST_NAMES]
        if not public:
            return []
        tried = docker("exec", self.id, "python", "-c", UNRESOLVED, HUB_NAME, *public, check=False)
        found = tried.stdout.split()
        return [name for name in public if name in found] if HUB_NAME in found else []

    def services(self) -> list[str]:
        """Host names of one word that the Space looked up: the services of a compose.yaml have such names."""
        return [name for name in self._looked_up() if "." not in name and name != "localhost"]

    def _looked_up(self) -> list[str]:
        names = [str(report["name"]) for report in self._reports() if "name" in report]
        return list(dict.fromkeys(names))

    def listening(self) -> list[Listener]:
        """The present listening sockets, without the observer's."""
        return self.sockets()[0]

    def sockets(self) -> tuple[list[Listener], frozenset[str]]:
        """The present listening sockets, and the outgoing connections with their state."""
        tables = docker("exec", self.id, "cat", "/proc/net/tcp", "/proc/net/tcp6").stdout
        found = [
            listener
            for listener in listeners(tables)
            if (listener.loopback, listener.port) != (True, SILENT_PORT)
        ]
        return found, connections(tables)

    def break_off(self) -> None:
        """Close the silent connections on loopback port 9, and refuse new connections."""
        docker("kill", "--signal=USR1", self.id)

    def remove(self) -> None:
        docker("rm", "--force", "--volumes", self.id, check=False)

    def _reports(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in docker("logs", self.id).stdout.splitlines()]


def listeners(tables: str) -> list[Listener]:
    """The listening sockets in the text of /proc/net/tcp and tcp6. Source: proc_pid_net(5)."""
    rows = (Listener(*_address(local)) for local, _, state in _rows(tables) if state == LISTEN)
    return list(dict.fromkeys(rows))


def connections(tables: str) -> frozenset[str]:
    """Outgoing connections, open or opening, as `STATE ADDRESS:PORT`."""
    served = {listener.port for listener in listeners(tables)}
    found = set()
    for local, remote, state in _rows(tables):
        # A connection to a listening port is incoming.
        if state not in (LISTEN, TIME_WAIT) and _address(local)[1] not in served:
            other = Listener(*_address(remote))
            if not other.loopback:
                found.add(f"{state} {other}")
    return frozenset(found)


# States of the kernel's table. Source: linux/include/net/tcp_states.h.
SYN_SENT, TIME_WAIT, LISTEN = "02", "06", "0A"


def _rows(tables: str) -> Iterator[tuple[str, str, str]]:
    """Local address, remote address and state of each socket."""
    for line in tables.splitlines():
        fields = line.split()
        if len(fields) >= 4 and ":" in fields[1]:
            yield fields[1], fields[2], fields[3]


def _address(field: str) -> tuple[str, int]:
    packed, _, port = field.partition(":")
    words = bytes.fromhex(packed)
    # Each 32-bit word is printed in the machine's own order: little-endian on amd64.
    address = b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4))
    ip = ipaddress.ip_address(address)
    return str(getattr(ip, "ipv4_mapped", None) or ip), int(port, 16)
