"""A visit to a Space: its page as a browser loads it, and the further paths that the Space names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import islice
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from preflight.engine.answering import Answering, read_body
from preflight.rules.assets import Asset, named_in
from preflight.rules.pages import Page, Request, requests_of, settings_of
from preflight.rules.posts import Post, posts, sample_of
from preflight.rules.scripts import UNKNOWN

AT_ONCE = 8
MOST_HOPS = 6
MOST_PATHS, MOST_ASSETS, MOST_POSTS = 24, 60, 6
# Of a live Space, which is sent few requests.
FEW_PATHS, FEW_ASSETS = 6, 10
LARGEST_BODY = 4 * 1024 * 1024
# Seconds to read of a body: enough for any page, and the end of an endless stream.
LONGEST_BODY = 2.0
# GET is safe by its definition (RFC 9110, 9.2.1), and not in each application.
NOT_HARMLESS = re.compile(
    r"log-?out|sign-?out|delete|remove|destroy|reset|shutdown|restart|stop|kill|clear|purge|unsubscribe",
    re.I,
)
_BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@dataclass(frozen=True)
class Answer:
    """An answer, or with status 0 the reason why there is none. headers: each as often as it was sent.

    whole: whether the body ended within 2 s and 4 MiB.
    """

    url: str
    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    whole: bool = True
    reason: str = ""

    def header(self, name: str) -> str:
        return next((value for given, value in self.headers if given.lower() == name.lower()), "")

    @property
    def kind(self) -> str:
        """The media type, without parameters."""
        return self.header("Content-Type").partition(";")[0].strip().lower()

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    @property
    def said(self) -> str:
        """The start of a text or page, without tags."""
        words = re.sub(r"(?s)<(script|style|head).*?</\1>|<[^>]*>", " ", self.text)
        return " ".join(words.split())[:200]

    @property
    def outcome(self) -> str:
        """The status, or why there is none."""
        return f"{self.status}" if self.status else f"no answer ({self.reason})"


def ask(
    subject: Answering,
    path: str,
    headers: Mapping[str, str] | None = None,
    method: str = "GET",
    public: str = "",
    data: Mapping[str, str] | None = None,
    files: Mapping[str, tuple[str, bytes, str]] | None = None,
    body: Any = None,
) -> Answer:
    """Send one request and read its answer, with a limit on size and time; never raises."""
    url = urljoin(public, path) if public else path
    try:
        with subject.request(
            method,
            path,
            headers=dict(headers or {}),
            data=data,
            files=files,
            json=body,
            timeout=5,
            stream=True,
        ) as answer:
            given = tuple(answer.raw.headers.items())
            body, whole = read_body(answer, LONGEST_BODY, LARGEST_BODY)
            return Answer(url, answer.status_code, given, body, whole)
    except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
        return Answer(url, 0, reason=getattr(error, "reason", None) or type(error).__name__)


@dataclass(frozen=True)
class Documented:
    """An operation of /openapi.json. path: with its parameters filled in. body: a sample of the JSON that it
    accepts; None if it accepts none."""

    method: str
    path: str
    streams: bool = False
    harmless: bool = True
    body: Any = None


@dataclass
class Visit:
    """What a visitor gets. `hops`: the answer to the front page and to where it redirects, in order.

    host: the public name. assets: what the page loads from the Space. paths: harmless GETs of paths
    that the page, the README or /openapi.json names.
    """

    host: str
    hops: list[Answer]
    page: Page | None = None
    assets: dict[Asset, Answer] = field(default_factory=dict)
    documented: list[Documented] = field(default_factory=list)
    servers: list[str] = field(default_factory=list)
    paths: dict[str, Answer] = field(default_factory=dict)

    @property
    def front(self) -> Answer:
        """The answer that the visitor sees."""
        return self.hops[-1]

    @cached_property
    def scripts(self) -> dict[str, str]:
        """The Space's scripts that arrived, by address."""
        return {
            asset.url: answer.text
            for asset, answer in self.assets.items()
            if asset.kind in ("script", "module", "chunk")
            and answer.status == 200
            and "html" not in answer.kind
        }

    @cached_property
    def scripted(self) -> list[Request]:
        """What the page and its scripts request."""
        return requests_of(self.page, self.scripts) if self.page else []

    @cached_property
    def requests(self) -> list[Request]:
        """The same, with the addresses in settings that the page fetches as JSON."""
        found = list(self.scripted)
        for path, answer in self.paths.items():
            if answer.status == 200 and "json" in answer.kind and "config" in path.lower():
                with suppress(ValueError):
                    found += settings_of(json.loads(answer.body), path)
        return found

    @cached_property
    def posts(self) -> dict[str, Post]:
        """What the page's forms and scripts and the API's documentation let a visitor post, by path; a few."""
        page = self.page
        own_forms = [form for form in page.forms if form.method == "POST"] if page else []
        found = [Post(form.action, None, tuple(form.files), form.fields) for form in own_forms]
        inline = [text for _, text in page.scripts] if page else []
        for script in (*inline, *self.scripts.values()):
            found += [
                _with_forms(post, page) if post.body is None else post for post in posts(script)
            ]
        found += [
            Post(operation.path, operation.body)
            for operation in self.documented
            if operation.method == "POST"
            and operation.body is not None
            and "{" not in operation.path
        ]
        by_path: dict[str, Post] = {}
        for request in found:
            if (path := self.own_path(request.address)) and not NOT_HARMLESS.search(path):
                by_path.setdefault(path, request)
        return dict(islice(by_path.items(), MOST_POSTS))

    @cached_property
    def cookies(self) -> str:
        """The `Cookie` header after the front page."""
        sent = (
            value
            for hop in self.hops
            for name, value in hop.headers
            if name.lower() == "set-cookie"
        )
        pairs = (header.partition(";")[0].strip().partition("=") for header in sent)
        return "; ".join(f"{name}={value}" for name, value in {n: v for n, _, v in pairs}.items())

    def own_path(self, address: str) -> str:
        """The path at the Space itself; empty for an address elsewhere, or one with unknown parts."""
        address = address.replace("{origin}", f"https://{self.host}").replace("{host}", self.host)
        parts = urlsplit(urljoin(f"https://{self.host}/", address))
        if UNKNOWN in address or parts.netloc != self.host or parts.scheme not in ("https", "wss"):
            return ""
        return parts.path + (f"?{parts.query}" if parts.query else "")

    def requested(self, *calls: str) -> list[str]:
        """Paths at the Space itself that the page gives to one of these calls, without unknown parts."""
        found = [
            self.own_path(request.address) for request in self.scripted if request.call in calls
        ]
        return [path for path in dict.fromkeys(found) if path]


def _with_forms(post: Post, page: Page | None) -> Post:
    """`post`, which a script sends with the fields of the page's forms."""
    forms = page.forms if page else ()
    files = [name for form in forms for name in form.files]
    fields = {name: value for form in forms for name, value in form.fields.items()}
    return replace(post, files=(*files, *post.files), fields={**fields, **post.fields})


def visit(subject: Answering, host: str, path: str, readme: str = "") -> Visit:
    """Load the page at `path` as a browser does, and try the paths that it, the README or the
    documentation of the API names: a few dozen GET requests, several at a time."""
    public = f"https://{host}/"
    with ThreadPoolExecutor(AT_ONCE) as pool:
        openapi = pool.submit(ask, subject, "/openapi.json", None, "GET", public)
        found = Visit(host, list(_followed(subject, path, public)))
        front = found.front
        if front.status < 400 and "html" in front.kind:
            found.page = Page.of_html(front.text, front.url)
            load = partial(_loaded, subject, public, found.page, pool)
            found.assets = load(FEW_ASSETS if subject.safe_only else MOST_ASSETS)
        found.documented, found.servers = _documented(openapi.result())
        named = [address for address in _named(found, readme) if not NOT_HARMLESS.search(address)]
        wanted = list(dict.fromkeys(named))[: FEW_PATHS if subject.safe_only else MOST_PATHS]
        answers = pool.map(lambda address: ask(subject, address, _BROWSER, "GET", public), wanted)
        found.paths = dict(zip(wanted, answers, strict=True))
    return found


def _followed(subject: Answering, path: str, public: str) -> Iterator[Answer]:
    for _ in range(MOST_HOPS):
        answer = ask(subject, path, _BROWSER, "GET", public)
        yield answer
        location = answer.header("Location")
        target = urljoin(answer.url, location)
        # A redirect to another site is not this Space's answer.
        if not 300 <= answer.status < 400 or not location:
            return
        if urlsplit(target).hostname != urlsplit(public).hostname:
            return
        path = _target(target)


def _loaded(
    subject: Answering, public: str, page: Page, pool: ThreadPoolExecutor, most: int
) -> dict[Asset, Answer]:
    """The page's files at the Space, and the files that these name, up to `most`."""
    found: dict[Asset, Answer] = {}
    wanted = page.own_assets
    while wanted := wanted[: most - len(found)]:
        answers = list(
            pool.map(lambda target: ask(subject, _target(target.url), None, "GET", public), wanted)
        )
        found |= zip(wanted, answers, strict=True)
        known = {entry.url for entry in found}
        named: dict[str, Asset] = {}
        for asset, answer in zip(wanted, answers, strict=True):
            if answer.status == 200 and "html" not in answer.kind:
                for reference in named_in(asset, answer.text):
                    if page.own(reference.url) and reference.url not in known:
                        named.setdefault(reference.url, reference)
        wanted = list(named.values())
    return found


def _target(url: str) -> str:
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _documented(answer: Answer) -> tuple[list[Documented], list[str]]:
    """The operations of an OpenAPI document, and the addresses of its `servers`."""
    try:
        document = json.loads(answer.body) if answer.status == 200 else {}
        servers = [str(server["url"]) for server in document.get("servers", []) if "url" in server]
        return list(_operations(document)), servers
    except (ValueError, AttributeError, TypeError):
        return [], []


def _operations(document: dict[str, Any]) -> Iterator[Documented]:
    for path, operations in document.get("paths", {}).items():
        for method, operation in operations.items():
            if method.upper() not in ("GET", "POST", "PUT", "PATCH", "DELETE"):
                continue
            given = [*operations.get("parameters", []), *operation.get("parameters", [])]
            filled, query, harmless = path, [], method == "get"
            for parameter in given:
                value = _example(parameter)
                if parameter.get("in") == "path" and value is not None:
                    filled = filled.replace(f"{{{parameter['name']}}}", str(value))
                elif parameter.get("in") == "query" and parameter.get("required"):
                    if value is None:
                        harmless = False
                    query.append(f"{parameter.get('name')}={value}")
            responses = operation.get("responses", {}).values()
            streams = any(
                "text/event-stream" in (response.get("content") or {}) for response in responses
            )
            if query:
                filled += "?" + "&".join(query)
            taken = (operation.get("requestBody") or {}).get("content") or {}
            body = None
            if "application/json" in taken:
                with suppress(ValueError, TypeError, AttributeError):
                    body = sample_of(taken["application/json"].get("schema"), document)
            harmless = harmless and "{" not in filled
            yield Documented(method.upper(), filled, streams, harmless, body)


def _example(parameter: dict[str, Any]) -> Any:
    schema = parameter.get("schema") or {}
    given = [parameter.get("example"), schema.get("example"), schema.get("default")]
    given += [next(iter(schema.get("examples") or []), None)]
    return next((value for value in given if value is not None), None)


def _named(found: Visit, readme: str) -> Iterator[str]:
    """Paths that the Space names: its documentation, its README, its front page, its page's scripts."""
    yield from (operation.path for operation in found.documented if operation.harmless)
    # `GET /stem?word=walking` and `/mcp` in a README's text.
    yield from re.findall(r"(?:\bGET |`)(/[^\s`'\"<>|){}*]*)", readme)
    yield from found.requested("fetch")
    if found.page:
        links = (url for url, _ in found.page.links if found.page.own(url))
        yield from (_target(url) for url in links if urlsplit(url).scheme in ("http", "https"))
    elif "json" in found.front.kind:
        yield from _paths_in(found.front.text)


def _paths_in(text: str) -> Iterable[str]:
    """Texts of a JSON document that are paths."""
    return [
        address
        for address in re.findall(r'"(?:GET )?(/[^"\s]*)"', text)
        if "{" not in address and not address.startswith("//")
    ]
