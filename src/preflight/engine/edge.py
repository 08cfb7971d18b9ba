"""The Hub's edge in front of running containers: `edge/Caddyfile`, with chosen settings."""

from __future__ import annotations

import json
import secrets
import socket
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from requests.adapters import HTTPAdapter

from preflight.engine import install as engine
from preflight.engine.answering import Answering
from preflight.engine.container import Container
from preflight.engine.docker import DockerError, docker
from preflight.engine.image import build_own
from preflight.engine.run import Run
from preflight.engine.waiting import NotYet, Overdue, wait_until
from preflight.model.hub_profile import HUB

FOLDER = Path(__file__).with_name("assets") / "edge"
READY_DEADLINE = 30
# The official image has nc, the stand-in has bash. /etc/hosts is a mount: it can be written, not replaced.
CONNECT = 'if command -v nc >/dev/null; then nc -z -w 1 "$0" "$1"; else timeout 1 bash -c "</dev/tcp/$0/$1"; fi'
FORGET = (
    'grep -q " $0\\$" /etc/hosts && kept=$(grep -v " $0\\$" /etc/hosts) && echo "$kept" >/etc/hosts'
)
# Seconds for which Caddy does not read /etc/hosts again. Source: Go, net/hosts.go, cacheMaxAge.
NAMES_CACHED = 5


class Edge:
    """One edge and the internal network between it and its Spaces; use it in a `with` statement.

    spaces: what it serves, by the Space's name, at https://OWNER-NAME.hf.space.
    settings: the switches of edge/Caddyfile, for example {"PREFLIGHT": "app"}.
    port: where it is published on this machine; by default the engine chooses.
    Raises DockerError when it does not answer within 30 s.
    """

    def __init__(
        self,
        run: Run,
        spaces: Mapping[str, Container],
        settings: Mapping[str, str] | None = None,
        port: int | None = None,
    ) -> None:
        self._run = run
        given = {"OWNER": HUB.owner, **(settings or {})}
        self.owner = given["OWNER"]
        self._network = f"{run.id}-edge-{secrets.token_hex(3)}"
        docker("network", "create", "--internal", *run.labels, self._network)
        address = "127.0.0.1" if engine.host() == "127.0.0.1" else "0.0.0.0"
        # Ports are published on the default network; an internal one has no way to this machine.
        self.id = docker(
            "run", "--detach", *run.labels, f"--publish={address}:{port or ''}:443",
            *(f"--env={name}={value}" for name, value in given.items()), build_own(run, "edge", FOLDER).tag,
        ).stdout.split()[-1]  # fmt: skip
        aliases = [f"--alias={HUB.host(name, self.owner)}" for name in spaces]
        docker("network", "connect", *aliases, self._network, self.id)
        for name, container in spaces.items():
            self.add(name, container)
        self._find()

    @classmethod
    def running(cls, run: Run, container_id: str, network: str, owner: str, port: int) -> Self:
        """An edge at `port` that another process of this run has started."""
        edge = cls.__new__(cls)
        edge._run, edge.id, edge._network, edge.owner = run, container_id, network, owner
        edge.port = port
        return edge

    def add(self, name: str, container: Container) -> bool:
        """Let the edge reach a container as the Space `name`, beside its other containers.

        Returns whether an edge that has answered before needs NAMES_CACHED seconds to notice.
        """
        # The name as the host name spells it: lower case, no "_" and no ".".
        host = HUB.host(name, self.owner)
        alias = host.removesuffix(".hf.space").removeprefix(f"{self.owner.lower()}-")
        docker("network", "connect", f"--alias={alias}", self._network, container.id)
        # A server that listens at its host name's address, as Next.js does, listens on the network that it had at its
        # start. On the Hub a replica has no other address. /etc/hosts comes before the engine's names.
        forgot = docker("exec", self.id, "sh", "-c", FORGET, alias, check=False).returncode == 0
        here, others = self._addresses(container)
        if not self._answers(here, container.port):
            for address in others:
                if self._answers(address, container.port):
                    docker("exec", self.id, "sh", "-c", f"echo '{address} {alias}' >>/etc/hosts")
                    return True
        return forgot

    def switch(self, name: str, container: Container) -> None:
        """Like `add`, but returns when the container gets requests, so that an earlier one may stop."""
        if self.add(name, container):
            time.sleep(NAMES_CACHED)

    def space(self, name: str) -> ThroughEdge:
        """The Space `name` as visitors reach it: over TLS, by its public host name."""
        return ThroughEdge(name, HUB.host(name, self.owner), self.port, self._authority)

    @property
    def network(self) -> str:
        """The network on which the edge answers for the public host names of its Spaces."""
        return self._network

    @property
    def _authority(self) -> Path:
        """The certificate to trust: the edge signs its certificates itself."""
        return self._run.folder / "once" / f"{self._network}.crt"

    def _addresses(self, container: Container) -> tuple[str, list[str]]:
        """The container's address on the edge's network, and its addresses on the other networks."""
        shown = docker("inspect", "--format={{json .NetworkSettings.Networks}}", container.id)
        found = {name: network["IPAddress"] for name, network in json.loads(shown.stdout).items()}
        return found.pop(self._network), [address for address in found.values() if address]

    def _answers(self, address: str, port: int) -> bool:
        """Whether a server accepts the edge's connection."""
        done = docker("exec", self.id, "sh", "-c", CONNECT, address, str(port), check=False)
        return done.returncode == 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        docker("logs", self.id, log=self._run.folder / f"edge-{self.id[:12]}.log", check=False)
        docker("rm", "--force", "--volumes", self.id, check=False)
        attached = docker(
            "network", "inspect", "--format", "{{range $id, $_ := .Containers}}{{$id}} {{end}}", self._network,
            check=False,
        )  # fmt: skip
        for container in attached.stdout.split():
            docker("network", "disconnect", "--force", self._network, container, check=False)
        docker("network", "rm", self._network, check=False)

    def _find(self) -> None:
        """Read its port and its certificate, once it answers."""
        self.port = int(docker("port", self.id, "443/tcp").stdout.split()[0].rpartition(":")[2])
        self._authority.parent.mkdir(parents=True, exist_ok=True)
        # The name of a Space that does not exist, so no Space gets a request. Each domain has its certificate.
        name = HUB.host("any", self.owner)
        hosts = [name, name.replace(".hf.space", ".hf.localhost")]

        def look() -> None:
            if missing := [host for host in hosts if not _hand_shakes(self.port, host)]:
                raise NotYet(f"no TLS for {', '.join(missing)}")

        try:
            wait_until("the edge: waits for its certificates", READY_DEADLINE, look)
        except Overdue as overdue:
            said = docker("logs", "--tail=10", self.id, check=False).stderr
            raise DockerError(f"{overdue}:\n{said}") from None
        root = f"{self.id}:/data/caddy/pki/authorities/local/root.crt"
        copy = self._authority.with_name(secrets.token_hex(4))
        docker("cp", root, str(copy))
        # Atomically: other processes that use this edge may read the file at any time.
        copy.replace(self._authority)


class AtThePort(Answering):
    """A Space at its own port, with requests that carry the edge's headers."""

    def __init__(self, container: Container) -> None:
        super().__init__(container.name)
        self.url = container.url
        self.host = HUB.host(container.name)
        self.http.headers.update({"Host": self.host, "X-Forwarded-Proto": "https"})


def _hand_shakes(port: int, host: str) -> bool:
    """Whether the port answers in TLS; the certificate is not verified yet."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((engine.host(), port), timeout=2) as connection,
            context.wrap_socket(connection, server_hostname=host),
        ):
            return True
    except OSError:
        return False


class ThroughEdge(Answering):
    """A Space through an edge on this machine: its host name is only in TLS and in `Host`."""

    def __init__(self, name: str, host: str, port: int, authority: Path) -> None:
        super().__init__(name)
        self.host = host
        self.url = f"https://{engine.host()}:{port}"
        self.http.headers["Host"] = host
        self.http.verify = str(authority)
        self.http.mount("https://", Named(host))


class Named(HTTPAdapter):
    """Sends `host` in the TLS handshake, for any address."""

    def __init__(self, host: str) -> None:
        self._host = host
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, server_hostname=self._host, **options)
