"""Load on a server from a neighbouring container, and the cost of the load for the server."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from preflight.engine.container import Container
from preflight.engine.docker import docker
from tests.backend_node.calling import PASSWORD

MB = 1_000_000
HEALTH = "/health"
SESSION = "/api/auth/get-session"
SIGN_IN = "/api/auth/sign-in/email"
SIGN_UP = "/api/auth/sign-up/email"


@dataclass(frozen=True)
class Load:
    """The results of some seconds of requests; times in seconds."""

    count: int
    seconds: float
    refused: int  # answered, with another status than 2xx or 3xx
    failed: int  # not answered
    p50: float
    p99: float
    cpu: float  # of the server's process, in all

    @property
    def rate(self) -> float:
        return self.count / self.seconds

    @property
    def cost(self) -> float:
        """CPU seconds per request."""
        return self.cpu / self.count


class Generator:
    """Sends load from a separate container, so that it reaches each server by the same way."""

    def __init__(self, container: Container) -> None:
        self._container = container

    def load(
        self,
        server: Container,
        path: str,
        seconds: int = 1,
        connections: int = 16,
        request: Mapping[str, str] | None = None,
    ) -> Load:
        """Send requests to `server`, by its name on the network, as fast as each connection may.

        request: METHOD, BODY, COOKIE, PACE, ADDRESSES, MAILS of doubles/node_peers/load.lua.
        """
        before = cpu_seconds(server)
        output = docker(
            "exec", *(f"--env={name}={value}" for name, value in (request or {}).items()),
            self._container.id, "wrk", "--threads=1", f"--connections={connections}",
            f"--duration={seconds}s", "--timeout=10s", "--latency", "--script=load.lua",
            f"http://{server.name}:7860{path}",
        ).stdout  # fmt: skip
        used = cpu_seconds(server) - before
        return Load(**json.loads(output.splitlines()[-1]), cpu=used)

    def sign_ins(
        self,
        server: Container,
        mails: Sequence[str],
        seconds: int,
        connections: int = 16,
        request: Mapping[str, str] | None = None,
    ) -> Load:
        """Sign these users in by turns, with the right password, each time from a new address."""
        body = json.dumps({"email": "MAIL", "password": PASSWORD})
        users = {"ADDRESSES": "many", "MAILS": " ".join(mails)}
        sign_in = {"METHOD": "POST", "BODY": body, **users, **(request or {})}
        return self.load(server, SIGN_IN, seconds, connections, sign_in)

    def sign_ups(self, server: Container, seconds: int, connections: int = 16) -> Load:
        """Sign up a new user with each request, each from a new address."""
        body = json.dumps({"name": "Ada", "email": "MAIL", "password": PASSWORD})
        mails = " ".join(f"{secrets.token_hex(6)}@example.com" for _ in range(200 * seconds))
        sign_up = {"METHOD": "POST", "BODY": body, "ADDRESSES": "many", "MAILS": mails}
        return self.load(server, SIGN_UP, seconds, connections, sign_up)


def cpu_seconds(server: Container) -> float:
    """User and system time of the container's first process. Source: man 5 proc."""
    stat = docker("exec", server.id, "cat", "/proc/1/stat").stdout.rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / 100


def resident(server: Container) -> float:
    """Resident memory of the first process in MB. Source: man 5 proc."""
    status = docker("exec", server.id, "cat", "/proc/1/status").stdout
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024 / MB


def hashes_a_second(server: Container) -> float:
    """Hash rate of these CPUs, with the Space's parameters, two at a time.

    The Space's code is not used: its faults would look like a slow machine.
    """
    script = """
        import { argon2 } from "node:crypto";
        import { promisify } from "node:util";
        const cost = { parallelism: 1, tagLength: 32, memory: 19_456, passes: 2 };
        const given = { message: "correct horse", nonce: Buffer.alloc(16), ...cost };
        const hash = promisify(argon2);
        const until = performance.now() + 1000;
        let made = 0;
        await Promise.all([1, 2].map(async () => {
          for (; performance.now() < until; made++) await hash("argon2id", given);
        }));
        console.log(made);
    """
    command = ["node", "--input-type=module", "-e", script]
    return float(docker("exec", server.id, *command).stdout)
