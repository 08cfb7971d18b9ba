"""Services on ports that a Space may not reach, by the addresses that are known before a start."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from dotenv import dotenv_values

from preflight.model.environment import EnvironmentDeclaration, Variable
from preflight.model.hub_profile import Outbound, outbound
from preflight.model.space import Space

# The port of a URL with this scheme and without a port. Source: IANA's registry of service names
# and port numbers; MongoDB's, Redis's, NATS's and Kafka's own documentation.
_PORTS = {
    **{"postgres": 5432, "postgresql": 5432, "mysql": 3306, "mariadb": 3306, "mssql": 1433},
    **{"sqlserver": 1433, "oracle": 1521, "mongodb": 27017, "redis": 6379, "rediss": 6379},
    **{"valkey": 6379, "amqp": 5672, "amqps": 5671, "nats": 4222, "kafka": 9092, "mqtt": 1883},
    **{"mqtts": 8883, "ldap": 389, "ldaps": 636, "smtp": 587, "smtps": 465},
}
_WEB = {"http": 80, "https": 443, "ws": 80, "wss": 443}


@dataclass(frozen=True)
class Doubtful:
    """A variable whose value leads to a port that is not known to be open. The value is never printed."""

    variable: str
    where: str
    port: int
    known: Outbound
    entered: bool
    """Whether the Space runs with this value unless a user enters another."""

    def __str__(self) -> str:
        return f"{self.variable} leads to port {self.port} ({self.where}): {self.known.known}"


def doubtful(space: Space, declaration: EnvironmentDeclaration) -> Iterator[Doubtful]:
    """The declared variables whose default, example, or value on this machine leads to such a port.

    A value on this machine is in the shell, or in a `.env` in the Space's folder or its parent.
    """
    folder = space.working_folder or space.folder
    files = [path for path in (folder / ".env", folder.parent / ".env") if path.is_file()]
    here = {path: dotenv_values(path, interpolate=False) for path in files}
    for variable in declaration.variables:
        values: list[tuple[str, str | None, bool]] = [
            (f"{declaration.source}:{variable.line}", variable.default, declaration.decorated),
            (f"@example in {declaration.source}:{variable.line}", variable.example, False),
            *((f"{path.parent.name}/.env", given.get(variable.name), False) for path, given in here.items()),
            ("set in this shell", os.environ.get(variable.name), False),
        ]  # fmt: skip
        for where, value, entered in values:
            port = port_of(value or "", variable)
            if port is not None and (known := outbound(port)):
                yield Doubtful(variable.name, where, port, known, entered)


def port_of(value: str, variable: Variable) -> int | None:
    """The port that the Space connects to for this value; None when it does not address a service.

    A web address counts only for a variable that is declared as a `@dependency`: the Space never
    connects to others, such as allowed origins.
    """
    scheme = re.match(r"([a-z][a-z0-9]*)[a-z0-9+.-]*://", value.strip(), re.I)
    if scheme is None:
        return None
    name = scheme[1].lower()
    usual = _PORTS.get(name) or (_WEB.get(name) if variable.dependency is not None else None)
    if usual is None:
        return None
    try:
        return urlsplit(value.strip()).port or usual
    except ValueError:
        return None
