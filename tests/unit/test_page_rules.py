"""Loads and requests of a page and its scripts, by their text: faults, and sound look-alikes."""

from __future__ import annotations

import pytest

from preflight.model.problems import Severity
from preflight.rules.assets import Asset, asset_problem, asset_problems, named_in
from preflight.rules.pages import Page, request_problems, requests_of, settings_of
from preflight.rules.posts import Post, posts, sample_of
from preflight.rules.scripts import targets

HOST = "acme-web.hf.space"
URL = f"https://{HOST}/"

LOST = {
    "a literal": 'fetch("http://localhost:7860/api")',
    "a base in a constant": 'const API = "http://localhost:8000"; fetch(`${API}/x?q=${q}`)',
    "an address of this machine": 'axios.get("http://127.0.0.1:5000/x")',
    "the address that a server binds": 'fetch("http://0.0.0.0:5000/x")',
    "a private address": 'const x = new XMLHttpRequest(); x.open("GET", "http://192.168.1.4:8000/x")',
    "the base of a client": 'axios.create({baseURL: "http://localhost:8000"})',
    "a member of a class": 'class A { constructor() { this.root = "http://localhost:1"; } go() { return fetch(this.root + "/a"); } }',
    "what a function returns": 'function base() { return "http://localhost:8000"; } fetch(base() + "/x")',
    "a fallback for a setting of the build": 'const u = import.meta.env.VITE_API || "http://localhost:8000"; fetch(u)',
    "a condition the wrong way round": 'const u = location.hostname !== "localhost" ? "http://localhost:8000" : ""; fetch(u + "/x")',
    "another port of the Space": "fetch(`https://${location.hostname}:8000/x`)",
    "a socket without TLS": 'new WebSocket("ws://" + location.host + "/ws")',
    "a socket of socket.io": 'const socket = io("http://localhost:5000")',
}
KEPT = {
    "a path": 'fetch("/api/x")',
    "localhost on localhost": 'const u = location.hostname === "localhost" ? "http://localhost:8000" : ""; fetch(u + "/x")',
    "localhost on a list of names": 'const here = ["localhost", "127.0.0.1"].includes(location.hostname); fetch((here ? "http://127.0.0.1:5000" : location.origin) + "/q")',
    "localhost until it is overruled": 'let u = "http://localhost:8000"; if (!location.hostname.includes("localhost")) u = ""; fetch(u + "/x")',
    "localhost in an if": 'let u = ""; if (location.hostname === "localhost") { u = "http://localhost:8000"; } fetch(`${u}/x`)',
    "localhost where a function looks": 'function base() { if (location.hostname.endsWith(".hf.space")) return location.origin; return "http://localhost:8000"; } fetch(base() + "/x")',
    "localhost in development": 'const u = process.env.NODE_ENV === "development" ? "http://localhost:8000" : "/api"; fetch(u)',
    "a live reload": 'if (location.hostname === "localhost") { fetch("http://localhost:35729/livereload.js"); }',
    "a text": 'document.write("curl http://localhost:7860/api")',
    "a visitor's own server to enter": 'const placeholder = "http://localhost:11434"',
    "a library's placeholder": 'const o = e && window.location.href || "http://localhost"; new URL("/x", o)',
    "a socket by the scheme": 'const p = location.protocol === "https:" ? "wss" : "ws"; new WebSocket(`${p}://${location.host}/ws`)',
    "a socket by the origin": 'new WebSocket(location.origin.replace(/^http/, "ws") + "/ws")',
}


def problems(script: str) -> list[Severity | None]:
    page = Page.of_html(f"<script>{script}</script>", URL)
    return [problem.severity for problem in request_problems(requests_of(page, {}), HOST)]


@pytest.mark.parametrize("script", LOST.values(), ids=LOST.keys())
def test_a_request_that_visitors_cannot_make_is_found(script: str) -> None:
    """An address that flows into a request and does not lead to the Space must be a breaking finding."""
    assert Severity.BREAKS in problems(script)


@pytest.mark.parametrize("script", KEPT.values(), ids=KEPT.keys())
def test_a_request_that_visitors_can_make_is_not_a_finding(script: str) -> None:
    """An address that no browser on the Hub would request must not be a finding."""
    assert problems(script) == []


def test_a_setting_of_an_address_is_a_risk() -> None:
    """A name such as API_URL must be a risk: another script may use it."""
    assert problems('window.API_URL = "http://localhost:8000"') == [Severity.RISK]


def test_another_site_without_tls_is_a_risk() -> None:
    """A blocked request to another site must be a risk: it is unclear what the page loses."""
    assert problems('fetch("http://api.example.com/x")') == [Severity.RISK]


def test_a_script_that_cannot_be_parsed_is_read_as_far_as_it_goes() -> None:
    """Broken syntax must not end the check."""
    assert [target.address for target in targets('fetch("/a"); ((( {{ fetch("/b")')][:1] == ["/a"]


def test_assets_are_resolved_as_a_browser_does() -> None:
    """`<base href>`, relative paths and addresses of other sites must resolve as in a browser."""
    page = Page.of_html(
        '<base href="/ui/"><script src="a.js"></script><link rel=stylesheet href="../b.css">'
        '<script src="https://cdn.example.com/c.js"></script><script type="text/template"><img src=x></script>',
        URL,
    )
    assert [asset.url for asset in page.own_assets] == [f"{URL}ui/a.js", f"{URL}b.css"]


@pytest.mark.parametrize(
    ("html", "status", "kind", "severity"),
    [
        ('<script src="/a.js"></script>', 404, "text/plain", Severity.BREAKS),
        ('<script type="module" src="/a.js"></script>', 200, "text/html", Severity.BREAKS),
        ('<link rel="stylesheet" href="/a.css">', 404, "text/html", Severity.BREAKS),
        ('<link rel="stylesheet" href="/a.css">', 200, "text/plain", Severity.BREAKS),
        (
            '<script type="module" src="/src/main.jsx"></script>',
            200,
            "application/octet-stream",
            Severity.BREAKS,
        ),
        ('<script type="module">import "./a.js"</script>', 404, "text/html", Severity.BREAKS),
        ('<script>show(() => import("./a.js"))</script>', 404, "text/html", Severity.RISK),
        ('<link rel="icon" href="/a.ico">', 404, "text/html", Severity.ADVICE),
        ('<script src="/_vercel/insights/script.js"></script>', 404, "text/html", Severity.ADVICE),
        ('<script src="/a.js"></script>', 200, "text/javascript", None),
        ('<link rel="stylesheet" href="/a.css">', 200, "text/css", None),
        ('<script type="module" src="/a.mjs"></script>', 200, "application/javascript", None),
        ('<script src="/a.js"></script>', 200, "application/octet-stream", None),
    ],
)
def test_an_asset_that_is_absent_counts_by_what_it_is(
    html: str, status: int, kind: str, severity: Severity | None
) -> None:
    """An absent script or style must break the page; an absent icon or visit counter must be advice."""
    asset = Page.of_html(html, URL).own_assets[0]
    problem = asset_problem(asset, status, kind)
    assert (problem and problem.severity) == severity


@pytest.mark.parametrize(
    ("kind", "text", "found"),
    [
        ("style", '@import "b.css"; /* url(c.png) */', [("/css/b.css", "style")]),
        ("style", "@import url('/b.css') screen;", [("/b.css", "style")]),
        ("style", "a{background:url(../d.png?v=1)}", [("/d.png?v=1", "file")]),
        ("style", "a{mask:url(#m);cursor:url(data:image/png;base64,AA)}", []),
        ("module", 'import{a}from"./b.js";export*from"../c.js"', [("/css/b.js", "module"), ("/c.js", "module")]),
        ("module", 'f(()=>import("./d.js")); import("react"); import x from "vue"', [("/css/d.js", "chunk")]),
        ("module", 'say("import \\"./e.js\\""); // import "./f.js"', []),
        ("script", 'import("./g.js")', []),
    ],
)  # fmt: skip
def test_a_file_names_further_files(kind: str, text: str, found: list[tuple[str, str]]) -> None:
    """Files that a stylesheet or a module names must be found, as a browser resolves them."""
    asset = Asset(f"{URL}css/a", kind, "css/a", 1)
    named = named_in(asset, text)
    assert [
        (reference.url.removeprefix(URL.rstrip("/")), reference.kind) for reference in named
    ] == found


def test_a_stylesheet_alone_is_a_risk() -> None:
    """An absent style must be a risk if a script arrives: the page still works."""
    script, style = Page.of_html(
        '<script src="/a.js"></script><link rel=stylesheet href="/a.css">', URL
    ).own_assets
    absent = (404, "text/html")
    both = asset_problems({script: absent, style: absent})
    assert [problem.severity for problem in both] == [Severity.BREAKS, Severity.BREAKS]
    alone = asset_problems({script: (200, "text/javascript"), style: absent})
    assert [problem.severity for problem in alone] == [Severity.RISK]


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ({"apiUrl": "http://localhost:8000"}, 1),
        ({"services": {"backend": "http://127.0.0.1:9000"}}, 1),
        ({"apiUrl": "/api", "homepage": "see http://localhost"}, 0),
    ],
)
def test_settings_as_json_are_read(document: object, found: int) -> None:
    """Addresses in settings that the page fetches must count as requests."""
    settings = settings_of(document, "/config.json")
    assert len(list(request_problems(settings, HOST))) == found


def test_an_attribute_that_holds_an_address_is_a_risk() -> None:
    """data-api-url must be a risk, because a script reads it; text beside it must not."""
    page = Page.of_html(
        '<main data-api-url="http://localhost:8000" data-note="http://localhost">', URL
    )
    assert [problem.severity for problem in request_problems(requests_of(page, {}), HOST)] == [
        Severity.RISK
    ]


@pytest.mark.parametrize(
    ("script", "address", "body"),
    [
        ('fetch("/a", {method: "POST", body: JSON.stringify({text, n: 3, o: {s: true}})})', "/a", {"text": "Hello", "n": 3, "o": {"s": True}}),
        ('const data = {q: box.value}; axios.post("/a", data)', "/a", {"q": "Hello"}),
        ('fetch(`/a`, {method: "post", body: JSON.stringify({messages: [{role: "user", content}]})})', "/a", {"messages": [{"role": "user", "content": "Hello"}]}),
        ('fetch("/a", {method: "PUT", body: JSON.stringify({n})})', "", None),
    ],
)  # fmt: skip
def test_json_that_a_script_posts_is_read(script: str, address: str, body: object) -> None:
    """The body must have the script's keys and constants, and a sample for each computed value."""
    assert posts(script) == ([Post(address, body)] if address else [])


@pytest.mark.parametrize(
    ("script", "post"),
    [
        ('fetch("/a", {method: "POST", body: new FormData(form)})', Post("/a")),
        ('const d = new FormData(); d.append("doc", box.files[0]); d.append("q", q); fetch("/a", {method: "POST", body: d})', Post("/a", None, ("doc",), {"q": "Hello"})),
    ],
)  # fmt: skip
def test_a_form_that_a_script_posts_is_read(script: str, post: Post) -> None:
    """A form must have the names that the script adds; a value of an input for files is a file."""
    assert posts(script) == [post]


@pytest.mark.parametrize(
    ("schema", "sample"),
    [
        ({"$ref": "#/components/schemas/Ask"}, {"question": "Hello", "top": 2}),
        ({"type": "string", "minLength": 7}, "Hellooo"),
        ({"type": "integer", "exclusiveMinimum": 4}, 5),
        ({"anyOf": [{"type": "array", "items": {"type": "string"}, "minItems": 1}, {"type": "null"}]}, ["Hello"]),
        ({"enum": ["fast", "slow"]}, "fast"),
        ({"$ref": "#/components/schemas/Absent"}, "Hello"),
        ("no schema", "Hello"),
    ],
)  # fmt: skip
def test_a_sample_fits_its_schema(schema: object, sample: object) -> None:
    """A body for a documented POST must have the required properties, within their limits."""
    ask = {
        "type": "object",
        "required": ["question", "top"],
        "properties": {
            "question": {"type": "string"},
            "top": {"type": "integer", "minimum": 2},
            "more": {"type": "string"},
        },
    }
    assert sample_of(schema, {"components": {"schemas": {"Ask": ask}}}) == sample
