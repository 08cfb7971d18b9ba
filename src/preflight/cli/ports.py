"""The ports of this machine that a stack publishes. Standard library only."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

from preflight.cli.stack import Failed, Service
from preflight.engine.install import answers


def check(project: str, services: list[Service], host: str) -> None:
    """Raise Failed when other processes hold a port; the message suggests free ports for all services."""
    # On a remote engine, `taken_meanwhile` reports the holder.
    if host != "127.0.0.1":
        return
    taken = [
        (service, port)
        for service in services
        for port in service.ports
        if _is_taken(port) and _container_on(port)[1] != project
    ]
    if taken:
        raise Failed(_advice(taken, services))


def taken_meanwhile(services: list[Service], output: str) -> str:
    """The message for ports that Compose reported as taken; empty when it reported none."""
    taken = [
        (service, port)
        for service in services
        for port in service.ports
        if re.search(rf":{port}\b.*(already allocated|already in use)", output)
    ]
    return _advice(taken, services) if taken else ""


def _advice(taken: list[tuple[Service, int]], services: list[Service]) -> str:
    lines = [f"{service.name}: port {port} is taken{_holder_of(port)}." for service, port in taken]
    used = {port for service in services for port in service.ports}
    choices = []
    for service, port in taken:
        free = next(other for other in range(port + 100, 65536) if other not in used and not _is_taken(other))  # fmt: skip
        used.add(free)
        choices.append(f"{_variable(service)}={free}")
    command = "make" if Path("Makefile").is_file() else "preflight"
    return "\n".join(
        [*lines, f"fix: stop that process, or choose other ports: {' '.join(choices)} {command} up"]
    )


def _variable(service: Service) -> str:
    return (
        "EDGE_PORT"
        if service.name == "edge"
        else f"{re.sub('[-.]', '_', service.name.upper())}_PORT"
    )


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((os.environ.get("HOST_ADDRESS") or "127.0.0.1", port))
        except OSError:
            return True
    return False


def _holder_of(port: int) -> str:
    """The holder of a port, as text that follows "is taken"; empty when unknown."""
    container, owner = _container_on(port)
    if container:
        return f" by the container {container}" + (f" (compose project {owner})" if owner else "")
    sockets = answers(["ss", "-Hltnp", f"sport = :{port}"]) or ""
    found = re.search(r'users:\(\("([^"]+)",pid=(\d+)', sockets)
    if found:
        return f" by {found.group(1)} (process {found.group(2)})"
    files = answers(["lsof", "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fcp"]) or ""
    listed = re.search(r"^p(\d+)\nc(.+)$", files, re.M)
    return f" by {listed.group(2)} (process {listed.group(1)})" if listed else ""


def _container_on(port: int) -> tuple[str, str]:
    """Name and compose project of the container that publishes a port; empty when there is none."""
    label = '{{.Names}}\t{{.Label "com.docker.compose.project"}}'
    listing = answers(["docker", "ps", "--filter", f"publish={port}", "--format", label]) or ""
    container, _, owner = listing.partition("\n")[0].partition("\t")
    return container, owner
