"""A first slo.toml for a Space without one: its GETs, with generous thresholds.

The GETs come from the OpenAPI document, or from the links of the page. The owner adds requests that
change something (POST, PUT, PATCH, DELETE).
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
# A threshold is the latency of a quiet request times ROOM, and at least LEAST milliseconds.
ROOM, LEAST = 5, {"p50": 20, "p95": 60, "p99": 150}
# With more names than this, 30 s with ten people give fewer than the 100 samples that p99 needs.
NAMES_WITH_P99 = 5


class NothingToRepeat(Exception):
    """The Space answers no GET with 2xx; the text lists the paths that were tried."""


@dataclass(frozen=True)
class Quiet:
    """A request name and its latencies in a quiet run."""

    name: str
    path: str
    status: int
    milliseconds: tuple[float, ...]


def draft(get: Get, samples: int, source: str) -> str:
    """The text of a slo.toml.

    samples: quiet requests of each path. source: the target, for the comment. Raises NothingToRepeat,
    and any exception of `get` for the first request.
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
        f"# Each threshold is {ROOM} times the latency of a quiet request, with a minimum.",
        "# This file is yours: adapt the thresholds to what your users notice. Keys: docs/load.md",
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
    """Request names with their paths, the left-out requests with reasons, and the source of both."""
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
    """The GETs in an OpenAPI document's `paths` whose parameters have examples, and what is left out."""
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
                left_out.append(f"GET {path} (a parameter has no example; add `path`)")
            else:
                offered.append((f"GET {path}", filled))
    return offered, left_out[:MOST_PATHS]


def _filled(path: str, parameters: list[Any]) -> str | None:
    """A path with its parameters' examples; None if a required parameter has no example."""
    query = {}
    for parameter in parameters:
        if not isinstance(parameter, dict) or "name" not in parameter:
            return None
        schema: Any = parameter.get("schema") or {}
        value = parameter.get("example", schema.get("example", schema.get("default")))
        if not parameter.get("required"):
            continue
        if value is None or parameter.get("in") not in ("query", "path"):
            return None
        if parameter["in"] == "path":
            path = path.replace("{" + parameter["name"] + "}", quote(str(value), safe=""))
        else:
            query[parameter["name"]] = value
    return None if "{" in path else path + (f"?{urlencode(query)}" if query else "")


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        wanted = {"script": "src", "img": "src", "link": "href"}.get(tag)
        self.found += [value for name, value in attrs if name == wanted and value]


def links(page: str) -> list[str]:
    """The paths of a page's scripts, stylesheets and images on the same server."""
    parser = _Links()
    parser.feed(page)
    here = "http://here/"
    joined = [urlsplit(urljoin(here, link)) for link in parser.found]
    return [url.path for url in joined if url.netloc == "here" and url.path != "/"]


def _measured(get: Get, name: str, path: str, samples: int) -> Quiet | None:
    """Latencies of a path; None if a response is not 2xx."""
    milliseconds, status = [], 0
    for _ in range(samples):
        try:
            answer = get(path)
        except requests.RequestException:
            return None
        # Time to the headers: the wait for a live Space's rate limit does not count.
        milliseconds.append(answer.elapsed.total_seconds() * 1000)
        status = answer.status_code
        if not 200 <= status < 300:
            return None
    return Quiet(name, path, status, tuple(milliseconds))


def _up(value: float) -> int:
    """Round up to two digits."""
    step: int = 10 ** max(0, math.floor(math.log10(max(value, 1))) - 1)
    return math.ceil(value / step) * step
