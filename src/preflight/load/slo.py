"""slo.toml: the thresholds of a run, and the requests that `preflight load` sends."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

# The class of people for a table without `by`.
CALLER = "Caller"
# Suffixes of figures that are part of another request.
FIRST, CONNECT = " (first)", " (connect)"


class SloError(ValueError):
    """slo.toml cannot be used; the text names the file, the table, the key and what to do."""


@dataclass(frozen=True)
class Slo:
    """The thresholds of a request name, and how a Caller sends the request."""

    name: str  # "METHOD space/path", or "METHOD /path" for a single target
    by: str = CALLER  # the class of people who make this request
    p50: float | None = None  # milliseconds
    p95: float | None = None
    p99: float | None = None
    p999: float | None = None
    failures: float = 0.01  # share of samples, 0..1
    samples: int = 0  # least number of a valid run; a percentile may need more
    rate: float = 0.0  # samples per second, at least
    limited: float = 0.0  # share of answers that may be 429, 0..1
    why: str = ""
    # Only for Callers:
    path: str = ""  # path and query, if they differ from the name
    weight: float = 1.0  # relative frequency
    expect: int = 200
    json: Any = None  # the body
    stream: bool = False  # read as a stream; `NAME (first)` is the time to the first event
    upload: str = ""  # a file beside slo.toml, sent as the form field `file`
    send: str = ""  # for a WS name: the message to which the Space replies

    def limit(self, percentile: str) -> float | None:
        """The limit of a key of PERCENTILES in milliseconds; None without a limit."""
        value: float | None = getattr(self, percentile.replace(".", ""))
        return value

    @property
    def is_request(self) -> bool:
        """Whether this is a request, not a figure that is part of another request."""
        return not self.name.endswith((FIRST, CONNECT))


@dataclass(frozen=True)
class Limits:
    """Limits of a valid run. Beyond them the run measured the generator, not the Space."""

    # Share of a core, 0..1, that a generator process may use or wait for in four seconds out of five.
    # Locust warns above the same share. Source: locust/runners.py
    cpu: float = 0.9
    late_ms: float = 30  # delay of the generator's timers (p95); every latency includes it
    steal: float = 0.1  # share of this machine's CPU taken by its host, 0..1
    busy: float = 0.3  # share of this machine's CPU in use before or after the load, 0..1


@dataclass(frozen=True)
class Growth:
    """How much a Space may grow in an hour; --watch measures it."""

    memory: float = 20  # MB
    files: float = 20  # open files
    connections: float = 20
    disk: float = 60  # MB


@dataclass(frozen=True)
class Wake:
    """The limit for waking a Space."""

    seconds: float = 60  # until its first response; the rehearsal's start deadline


@dataclass(frozen=True)
class Thresholds:
    """The content of a slo.toml."""

    limits: Limits
    growth: Growth
    wake: Wake
    slos: Mapping[str, Slo]


def load(path: Path) -> Thresholds:
    """Read slo.toml: a table for each request name, and the optional `generator`, `growth` and `wake`.

    Raises SloError if the file can't be read, or a key is missing, unknown or of a wrong type.
    """
    try:
        tables = tomllib.loads(path.read_text())
    except OSError as error:
        raise SloError(f"{path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SloError(f"{path}: {error}") from None
    limits = _read(path, "generator", tables.pop("generator", {}), Limits)
    growth = _read(path, "growth", tables.pop("growth", {}), Growth)
    wake = _read(path, "wake", tables.pop("wake", {}), Wake)
    if not tables:
        raise SloError(f'{path}: no request name has a table; write one, such as ["GET /"]')
    slos = {name: _slo(path, name, table) for name, table in tables.items()}
    return Thresholds(limits, growth, wake, slos)


def _slo(path: Path, name: str, table: Any) -> Slo:
    slo: Slo = _read(path, name, table, Slo, {"name": name})
    method, _, target = name.partition(" ")
    if not method.isupper() or "/" not in target:
        raise SloError(f'{path}: [{name}] is not a request name; write one such as ["GET /health"]')
    if slo.upload and not (path.parent / slo.upload).is_file():
        raise SloError(f"{path}: [{name}] upload: the file {path.parent / slo.upload} is missing")
    if slo.path and not slo.path.startswith("/"):
        raise SloError(f"{path}: [{name}] path must start with /, not {slo.path!r}")
    return slo


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


# A field's declared type -> the valid values in words, and the check.
KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "str": ("a text", lambda value: isinstance(value, str)),
    "bool": ("true or false", lambda value: isinstance(value, bool)),
    "int": ("a whole number, 0 or more", lambda value: _number(value) and value == int(value)),
    "float": ("a number, 0 or more", _number),
    "float | None": ("a number, 0 or more", _number),
    "Any": ("a value", lambda value: True),
}


def _read(
    path: Path, name: str, table: Any, kind: type[Any], known: Mapping[str, Any] | None = None
) -> Any:
    if not isinstance(table, dict):
        raise SloError(f"{path}: {name} must be a table; write [{name}]")
    names = {field.name: field for field in fields(kind) if field.name not in (known or {})}
    for key, value in table.items():
        if key not in names:
            raise SloError(
                f"{path}: [{name}] has an unknown key {key}; known are {', '.join(names)}"
            )
        what, is_one = KINDS[str(names[key].type)]
        if not is_one(value):
            raise SloError(f"{path}: [{name}] {key} must be {what}, not {value!r}")
    for key, field in names.items():
        if field.default is MISSING and key not in table:
            raise SloError(f"{path}: [{name}] lacks {key}")
    return kind(**(known or {}), **table)
