"""A page as a browser reads it: its assets, the targets of its links and forms, its scripts' requests."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

from preflight.model.problems import Problem, Severity
from preflight.rules.assets import Asset, imported
from preflight.rules.scripts import UNKNOWN, Target, targets

_ICONS = {"icon", "shortcut icon", "apple-touch-icon", "mask-icon", "manifest"}
_REQUESTS = re.compile(r"(data-)?(hx-(get|post|put|patch|delete)|sse-connect|ws-connect)")
_SETTING = re.compile(r"(api|url|host|base|server|endpoint|socket|backend|ws)$", re.I)
# Ports of servers that a visitor may well run: Ollama, LM Studio.
_VISITORS_OWN = {11434, 1234}


@dataclass(frozen=True)
class Form:
    """A form: its target, its fields with a value that a visitor may enter, and its fields for files."""

    action: str
    method: str
    line: int
    fields: dict[str, str] = field(default_factory=dict, hash=False)
    files: list[str] = field(default_factory=list, hash=False)


@dataclass(frozen=True)
class Page:
    """What a page of HTML names; every address is absolute.

    base: the page's own address, as `<base href>` changes it. scripts: inline ones, with the line
    on which each starts. requests: addresses in attributes such as `hx-get`. settings: addresses in
    attributes such as `data-api-url`.
    """

    url: str
    base: str
    assets: tuple[Asset, ...]
    links: tuple[tuple[str, int], ...]
    forms: tuple[Form, ...]
    scripts: tuple[tuple[int, str], ...]
    requests: tuple[tuple[str, int], ...]
    settings: tuple[tuple[str, int], ...]
    canonical: str | None
    policy: str | None
    text: str

    @classmethod
    def of_html(cls, html: str, url: str) -> Page:
        """Read `html`, which the server sent for `url`."""
        reader = _Reader(url)
        reader.feed(html)
        reader.close()
        return cls(
            url, reader.base, tuple(reader.assets), tuple(reader.links), tuple(reader.forms),
            tuple(reader.scripts), tuple(reader.requests), tuple(reader.settings), reader.canonical, reader.policy,
            " ".join("".join(reader.words).split()),
        )  # fmt: skip

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    def own(self, url: str) -> bool:
        """Whether an address is on this page's own server, over any scheme."""
        return urlsplit(url).netloc.lower() == self.host.lower()

    @property
    def own_assets(self) -> list[Asset]:
        """The assets that the page and its inline modules load from its own server, each address once."""
        inline = (
            asset for _, text in self.scripts for asset in imported(text, self.base, "the page")
        )
        assets = [*self.assets, *inline]
        found = {asset.url: asset for asset in reversed(assets) if self.own(asset.url)}
        return list(reversed(found.values()))


class _Reader(HTMLParser):
    def __init__(self, url: str) -> None:
        super().__init__(convert_charrefs=True)
        self.url = self.base = url
        self.assets: list[Asset] = []
        self.links: list[tuple[str, int]] = []
        self.forms: list[Form] = []
        self.scripts: list[tuple[int, str]] = []
        self.requests: list[tuple[str, int]] = []
        self.settings: list[tuple[str, int]] = []
        self.canonical: str | None = None
        self.policy: str | None = None
        self.words: list[str] = []
        self._script: int | None = None
        self._silent = ""
        self._form: Form | None = None

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        line = self.getpos()[0]
        if tag == "base" and given.get("href"):
            self.base = urljoin(self.url, given["href"])
        elif tag == "script":
            self._take_script(given, line)
        elif tag == "link":
            self._take_link(given, line)
        elif tag in ("img", "iframe", "frame", "embed", "source", "video", "audio") and given.get(
            "src"
        ):
            self._asset(
                given["src"], "frame" if tag in ("iframe", "frame") else "image", line, given
            )
        elif tag == "a" and given.get("href"):
            self.links.append((self._absolute(given["href"]), line))
        elif tag == "form":
            action = self._absolute(given.get("action") or self.url)
            self._form = Form(action, given.get("method", "get").upper(), line)
            self.forms.append(self._form)
        elif tag in ("input", "textarea", "select", "button") and given.get("name") and self._form:
            if given.get("type") == "file":
                self._form.files.append(given["name"])
            else:
                self._form.fields[given["name"]] = given.get("value") or _entered(given)
        elif tag == "meta" and given.get("http-equiv", "").lower() == "content-security-policy":
            self.policy = given.get("content", "")
        if tag == "style":
            self._silent = tag
        for name, value in given.items():
            if value and _REQUESTS.fullmatch(name):
                self.requests.append((self._absolute(value), line))
            elif name.startswith("data-") and _SETTING.search(name) and "://" in value[:8]:
                self.settings.append((value, line))

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._script = None
        if tag == self._silent:
            self._silent = ""
        if tag == "form":
            self._form = None

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            # The parser may deliver a long script in parts.
            if self.scripts and self.scripts[-1][0] == self._script:
                self.scripts[-1] = (self._script, self.scripts[-1][1] + data)
            elif data.strip():
                self.scripts.append((self._script, data))
        elif not self._silent:
            self.words.append(data)

    def _take_script(self, given: dict[str, str], line: int) -> None:
        kind = given.get("type", "").lower()
        if kind not in ("", "module", "text/javascript", "application/javascript"):
            # A template, data, or an import map.
            self._silent = "script"
        elif given.get("src"):
            self._asset(given["src"], "module" if kind == "module" else "script", line, given)
            self._silent = "script"
        else:
            self._script = line

    def _take_link(self, given: dict[str, str], line: int) -> None:
        relation, href = given.get("rel", "").lower(), given.get("href")
        if not href:
            return
        if relation == "stylesheet":
            self._asset(href, "style", line, given)
        elif relation == "modulepreload":
            self._asset(href, "module", line, given)
        elif relation in _ICONS:
            self._asset(href, "icon", line, given)
        elif relation == "canonical":
            self.canonical = self._absolute(href)

    def _asset(self, written: str, kind: str, line: int, given: dict[str, str]) -> None:
        if not written.startswith(("data:", "blob:", "about:", "javascript:")):
            url = self._absolute(written)
            self.assets.append(Asset(url, kind, written, line, "crossorigin" in given))

    def _absolute(self, written: str) -> str:
        try:
            return urljoin(self.base, written.strip())
        except ValueError:
            return self.base


def _entered(given: dict[str, str]) -> str:
    """A value that a visitor may enter into a field."""
    kinds = {"email": "reader@example.com", "number": "1", "url": "https://example.com/"}
    kinds |= {
        "date": "2026-01-31",
        "checkbox": "on",
        "range": "1",
        "color": "#336699",
        "tel": "5550100",
    }
    return kinds.get(given.get("type", ""), "Reader")


@dataclass(frozen=True)
class Request:
    """An address that a page requests, and the place in the code."""

    address: str
    call: str
    place: str


def settings_of(document: Any, path: str) -> list[Request]:
    """Addresses in a JSON document that the page fetches from `path`."""
    return [Request(url, "name", f"the JSON of {path}") for url in _addresses_in(document)]


def requests_of(page: Page, scripts: Mapping[str, str]) -> list[Request]:
    """All that the page and its scripts (by address) request, `{host}` and `{origin}` filled in."""
    found: list[Request] = []

    def take(script: str, place: str, first: int) -> None:
        for target in targets(script):
            found.append(
                Request(_filled(target, page), target.call, f"{place}:{target.line + first}")
            )

    name = urlsplit(page.url).path
    for line, text in page.scripts:
        take(text, f"the page {name}", line - 1)
    for url, text in scripts.items():
        take(text, f"the script {urlsplit(url).path}", 0)
    found += [Request(url, "name", f"the page {name}:{line}") for url, line in page.settings]
    found += [
        Request(url, "an attribute", f"the page {name}:{line}") for url, line in page.requests
    ]
    found += [Request(form.action, "a form", f"the page {name}:{form.line}") for form in page.forms]
    found += [
        Request(asset.url, f"<{asset.kind}>", f"the page {name}:{asset.line}")
        for asset in page.assets
        if asset.kind != "icon"
    ]
    return list(dict.fromkeys(found))


def _addresses_in(document: Any) -> Iterator[str]:
    """Addresses in a JSON document, under a key that may name a server."""
    if isinstance(document, dict):
        for key, value in document.items():
            if isinstance(value, str) and _SETTING.search(str(key)) and "://" in value[:8]:
                yield value
            else:
                yield from _addresses_in(value)


def _filled(target: Target, page: Page) -> str:
    return target.address.replace("{origin}", f"https://{page.host}").replace("{host}", page.host)


def request_problems(requests: list[Request], host: str) -> Iterator[Problem]:
    """Requests that a visitor's browser can't make: to the visitor's own machine, or without TLS."""
    seen: set[str] = set()
    for request in requests:
        parts = _parts(request.address)
        if parts is None or parts[0] not in ("http", "https", "ws", "wss"):
            continue
        scheme, name, port = parts
        origin = f"{scheme}://{name}" + (f":{port}" if port else "")
        if origin in seen:
            continue
        problem = _unreachable(request, name, port, host) or _insecure(request, scheme, name, host)
        if problem:
            seen.add(origin)
            yield problem


def _unreachable(request: Request, name: str, port: int | None, host: str) -> Problem | None:
    shown = request.address.replace(UNKNOWN, "…")
    if is_local(name):
        if port in _VISITORS_OWN:
            severity = Severity.ADVICE
        else:
            severity = Severity.RISK if request.call in ("name", "<image>") else Severity.BREAKS
        return Problem(
            "requests from the page to the Space's own address",
            f"{request.place} passes {shown} to {_call(request)}: {name} is the visitor's machine, not the Space",
            "Request a path without a host (/api/…), or build the address from location.origin.",
            severity=severity,
        )
    if name == host.lower() and port not in (None, 80, 443):
        return Problem(
            "requests from the page to the Space's public address, which has a single port",
            f"{request.place} passes {shown} to {_call(request)}: the Hub opens no port {port} on {host}",
            "Serve it under a path on app_port, and request that path.",
            severity=Severity.BREAKS,
        )
    return None


def _insecure(request: Request, scheme: str, name: str, host: str) -> Problem | None:
    if scheme not in ("http", "ws") or request.call == "name":
        return None
    secure = {"http": "https", "ws": "wss"}[scheme]
    # Browsers change an image's http:// into https://, and only warn about a form. For another site
    # it is not clear what the page loses.
    mild = request.call in ("<image>", "a form") or name != host.lower()
    return Problem(
        "requests from the page over https:// and wss://",
        f"{request.place} passes {request.address.replace(UNKNOWN, '…')} to {_call(request)}: browsers block {scheme}:// "
        f"from a page that came over https://",
        f"Use {secure}://; for the Space itself, use a path without scheme and host"
        + (
            "; trust X-Forwarded-Proto where the server builds the address."
            if name == host.lower()
            else "."
        ),
        severity=Severity.RISK if mild else Severity.BREAKS,
    )


def _call(request: Request) -> str:
    return {"name": "a setting", "request": "a client as its base"}.get(request.call, request.call)


def _parts(address: str) -> tuple[str, str, int | None] | None:
    try:
        parts = urlsplit(address.partition(UNKNOWN)[0])
        return parts.scheme, (parts.hostname or "").lower(), parts.port
    except ValueError:
        return None


def is_local(name: str) -> bool:
    """Whether a host is the local machine or in a private network: never a Space on the Hub."""
    if name == "localhost" or name.endswith((".localhost", ".local", ".internal")):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or address.is_private or address.is_unspecified
