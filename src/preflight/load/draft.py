"""A first slo.toml for a Space that has none: what it offers to repeat, and thresholds with room.

What a GET may be sent for comes from its OpenAPI document, or from the links of its page. Requests that
change something (POST, PUT, PATCH, DELETE) are left to the owner.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from statistics import median
from typing import Any
from urllib.parse import quote, urlencode, urljoin, urlsplit

import requests

# Sends a GET of a path.
Get = Callable[[str], requests.Response]

DOCUMENTS = ("/openapi.json", "/docs/openapi.json", "/swagger.json")
MOST_PATHS = 12
# A quiet request's time, times this, is allowed under load; and at least so many milliseconds.
ROOM, LEAST = 5, {"p50": 20, "p95": 60, "p99": 150}
# With more names than this, 30 s with ten people have no hundred samples of each.
NAMES_WITH_P99 = 5


class NothingToRepeat(Exception):
    """The Space offers no GET that answers 2xx; the text says what was tried."""


@dataclass(frozen=True)
class Quiet:
    """One request name, and how long its answers took in a quiet run."""

    name: str
    path: str
    status: int
    milliseconds: tuple[float, ...]


def draft(get: Get, samples: int, source: str) -> str:
    """The text of a slo.toml.

    samples: quiet requests of each path. source: the target, for the comment. Raises NothingToRepeat, and what `get` raises for the first request.
    """
    offered, left_out, origin = _offered(get)
    measured = [
        quiet
        for name, path in offered
        if (quiet := _measured(get, name, path, samples)) is not None
    ]
    if not measured:
        tried = ", ".join(path for _, path in offered)
        raise NothingToRepeat(
            f"{source} answers no GET with 2xx (tried {tried}); write a slo.toml: docs/load.md"
        )
    lines = [
        f"# Drafted by `preflight load` from {origin} of {source}.",
        f"# Each threshold is {ROOM} times what a quiet request took, and some milliseconds at least.",
        "# Yours from now on: change what your users would notice. The keys: docs/load.md",
        *(f"# Left out: {what}" for what in left_out),
    ]
    for quiet in measured:
        lines += ["", f"[{json.dumps(quiet.name)}]"]
        if quiet.path != quiet.name.partition(" ")[2]:
            lines.append(f"path = {json.dumps(quiet.path)}")
        if quiet.status != 200:
            lines.append(f"expect = {quiet.status}")
        slowest = max(quiet.milliseconds)
        for key, value in {
            "p50": median(quiet.milliseconds),
            "p95": slowest,
            "p99": 2 * slowest,
        }.items():
            if key != "p99" or len(measured) <= NAMES_WITH_P99:
                lines.append(f"{key} = {max(LEAST[key], _up(ROOM * value))}")
    return "\n".join(lines) + "\n"


def _offered(get: Get) -> tuple[list[tuple[str, str]], list[str], str]:
    """Request names with their paths, what was left out and why, and where both come from."""
    page = get("/")
    for path in DOCUMENTS:
        try:
            document = get(path).json()
        except (requests.RequestException, ValueError):
            continue
        if isinstance(document, dict) and isinstance(document.get("paths"), dict):
            offered, left_out = of_document(document["paths"])
            if offered:
                return offered[:MOST_PATHS], left_out, path
    paths = ["/", "/health", *links(page.text)] if page.ok else ["/", "/health"]
    return [(f"GET {path}", path) for path in dict.fromkeys(paths)][:MOST_PATHS], [], "the page"


def of_document(paths: Mapping[str, Any]) -> tuple[list[tuple[str, str]], list[str]]:
    """The GETs of an OpenAPI document's `paths` that need no value which only its owner knows."""
    offered, left_out = [], []
    for path, methods in paths.items():
        if not isinstance(methods, dict) or not path.startswith("/"):
            continue
        for method, operation in methods.items():
            if method in ("post", "put", "patch", "delete"):
                left_out.append(f"{method.upper()} {path} (may change something)")
            if method != "get" or not isinstance(operation, dict):
                continue
            shared = methods.get("parameters") or []
            filled = _filled(path, [*shared, *(operation.get("parameters") or [])])
            if filled is None:
                left_out.append(f"GET {path} (no example for a value; add `path`)")
            else:
                offered.append((f"GET {path}", filled))
    return offered, left_out[:MOST_PATHS]


def _filled(path: str, parameters: list[Any]) -> str | None:
    """A path with the examples of its parameters; None where a required one has none."""
    query = {}
    for one in parameters:
        if not isinstance(one, dict) or "name" not in one:
            return None
        schema: Any = one.get("schema") or {}
        value = one.get("example", schema.get("example", schema.get("default")))
        if not one.get("required"):
            continue
        if value is None or one.get("in") not in ("query", "path"):
            return None
        if one["in"] == "path":
            path = path.replace("{" + one["name"] + "}", quote(str(value), safe=""))
        else:
            query[one["name"]] = value
    return None if "{" in path else path + (f"?{urlencode(query)}" if query else "")


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        wanted = {"script": "src", "img": "src", "link": "href"}.get(tag)
        self.found += [value for name, value in attrs if name == wanted and value]


def links(page: str) -> list[str]:
    """The paths of the same server from which a page takes scripts, stylesheets and images."""
    parser = _Links()
    parser.feed(page)
    here = "http://here/"
    joined = [urlsplit(urljoin(here, link)) for link in parser.found]
    return [url.path for url in joined if url.netloc == "here" and url.path != "/"]


def _measured(get: Get, name: str, path: str, samples: int) -> Quiet | None:
    """None where the answer is not a success."""
    milliseconds, status = [], 0
    for _ in range(samples):
        try:
            answer = get(path)
        except requests.RequestException:
            return None
        # Until the headers came: a live Space's turn to be asked is not its time.
        milliseconds.append(answer.elapsed.total_seconds() * 1000)
        status = answer.status_code
        if not 200 <= status < 300:
            return None
    return Quiet(name, path, status, tuple(milliseconds))


def _up(value: float) -> int:
    """Rounded up to two digits."""
    step: int = 10 ** max(0, math.floor(math.log10(max(value, 1))) - 1)
    return math.ceil(value / step) * step
