"""The files that make up a page: those that the page names, and those that its stylesheets and modules name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from urllib.parse import urljoin, urlsplit

from tree_sitter import Query

from preflight.model.problems import Problem, Severity
from preflight.rules.scripts import LANGUAGE, LARGEST_SCRIPT, Script

# Scripts that only count visits: a page is complete without them.
_COUNTERS = re.compile(
    r"/_vercel/(insights|speed-insights)/|/cdn-cgi/|analytics|gtag|umami|plausible", re.I
)
_JAVASCRIPT = re.compile(
    r"(application|text)/(x-)?(java|ecma)script|text/(javascript1\.[0-5]|jscript|livescript)"
)
"""Source: mimesniff.spec.whatwg.org, JavaScript MIME type."""
# What a module may import with `with { type: … }`, and WebAssembly.
_IMPORTABLE = ("application/json", "text/css", "application/wasm")
_IN_STYLES = re.compile(
    r"""@import\s+(?:url\(\s*)?["']?(?P<style>[^"')\s;]+)|url\(\s*["']?(?P<file>[^"')\s]+)""", re.I
)
_COMMENTS = re.compile(r"/\*.*?\*/", re.S)
_IMPORTS = Query(
    LANGUAGE,
    """
    (import_statement source: (string) @now)
    (export_statement source: (string) @now)
    (call_expression function: (import) arguments: (arguments . (string) @later))
    """,
)


@dataclass(frozen=True)
class Asset:
    """A file that `by` names: the page, a stylesheet or a module.

    kind: script, module, style, icon, image, frame; chunk, a module that a script loads when it needs it;
    file, a font or image of a stylesheet.
    """

    url: str
    kind: str
    written: str
    line: int
    crossorigin: bool = False
    by: str = "the page"


def named_in(asset: Asset, text: str) -> list[Asset]:
    """The files that a stylesheet or a module names; `text` is its content."""
    path = urlsplit(asset.url).path
    if asset.kind == "style":
        return list(_named_in_style(text, asset.url, f"the stylesheet {path}"))
    if asset.kind in ("module", "chunk"):
        return list(imported(text, asset.url, f"the module {path}"))
    return []


def _named_in_style(text: str, url: str, by: str) -> Iterator[Asset]:
    for found in _IN_STYLES.finditer(_COMMENTS.sub("", text)):
        kind, written = ("style", found["style"]) if found["style"] else ("file", found["file"])
        if not written.startswith(("data:", "blob:", "about:", "#")):
            yield Asset(urljoin(url, written), kind, written, 0, by=by)


def imported(text: str, url: str, by: str) -> Iterator[Asset]:
    """The modules that a module imports by address, and those that it loads later. Names such as "react" are omitted:
    an import map may resolve them."""
    if ("import" not in text and "export" not in text) or len(text) > LARGEST_SCRIPT:
        return
    script = Script(text.encode())
    for capture, kind in (("now", "module"), ("later", "chunk")):
        for node in script.captured(_IMPORTS, capture):
            written = script.text(node)[1:-1]
            if written.startswith(("./", "../", "/")):
                yield Asset(urljoin(url, written), kind, written, node.start_point[0] + 1, by=by)


def asset_problems(answers: Mapping[Asset, tuple[int, str]]) -> list[Problem]:
    """Assets that a visitor does not receive, by the status and media type of each answer.

    A missing stylesheet is a risk while other assets arrive; without any asset the page is broken.
    """
    found = {asset: asset_problem(asset, status, kind) for asset, (status, kind) in answers.items()}
    arrives = any(
        problem is None and asset.kind in ("script", "module", "style")
        for asset, problem in found.items()
    )
    return [
        replace(problem, severity=Severity.RISK) if arrives and asset.kind == "style" else problem
        for asset, problem in found.items()
        if problem
    ]


def asset_problem(asset: Asset, status: int, kind: str) -> Problem | None:
    """The problem of an asset whose answer has this status and media type; None without a problem."""
    needed = asset.kind in ("script", "module", "chunk", "style")
    if needed and _COUNTERS.search(asset.url):
        needed = False
    path = urlsplit(asset.url).path
    fix = (
        "Build the front end for the path where the Space serves it, which is / on the Hub (Vite: "
        "base, Create React App: homepage, Next: basePath, Angular: --base-href), and copy the "
        "whole build into the image."
    )
    what = {"module": "script", "chunk": "script", "style": "stylesheet"}.get(
        asset.kind, asset.kind
    )
    named = f"{asset.by} names the {what} {asset.written}"
    if status >= 400:
        actual = f"{named}, and GET {path} answers {status}"
    elif needed and "html" in kind:
        actual = f"{named}, and GET {path} answers with HTML"
        fix += " Answer 404, not the front page, for a file that does not exist."
    elif asset.kind == "style" and kind not in ("", "text/css"):
        actual = f"{named}, and GET {path} answers with Content-Type {kind}, which a browser does not apply"
        fix = "Serve the file with Content-Type: text/css."
    elif asset.kind in ("module", "chunk") and not _runs_as_module(kind):
        actual = f"{named}, and GET {path} answers with {f'Content-Type {kind}' if kind else 'no Content-Type'}, which a browser does not run"
        fix = (
            "Serve the output of the build, not the sources (/src/main.tsx, .jsx), or serve the "
            "file with Content-Type: text/javascript."
        )
    else:
        return None
    severity = Severity.BREAKS if needed else Severity.ADVICE
    return Problem(
        f"the content of each {what} that {asset.by} names",
        actual,
        fix,
        severity=Severity.RISK if needed and asset.kind == "chunk" else severity,
    )


def _runs_as_module(kind: str) -> bool:
    """Source: html.spec.whatwg.org, fetch a single module script."""
    return bool(_JAVASCRIPT.fullmatch(kind)) or kind in _IMPORTABLE
