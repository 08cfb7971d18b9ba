"""What a browser sees: a page to try the service, and the built-in book."""

import base64
import hashlib
import html
import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from string import Template

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app import VERSION
from app.embedded import Index
from app.http import error_response

Endpoint = Callable[[Request], Awaitable[Response]]
_FOLDER = Path(__file__).parent / "html"


def routes(index: Index | None) -> Iterator[tuple[str, Endpoint]]:
    """Paths and their endpoints; all answer GET and HEAD."""
    layout = Template((_FOLDER / "layout.html").read_text())
    try_it = (_FOLDER / "try.html").read_text()

    def page(title: str, main: str) -> Response:
        text = layout.substitute(title=html.escape(title), main=main)
        return Response(text, media_type="text/html", headers=_policy(text))

    home_page = page("Ask the book", try_it)
    home_page.headers["Vary"] = "Accept"
    home_json = JSONResponse(
        {"name": "backend-py", "version": VERSION, "docs": "/docs", "book": "/book"},
        headers={"Vary": "Accept"},
    )

    async def home(request: Request) -> Response:
        return home_page if "text/html" in request.headers.get("accept", "") else home_json

    yield "/", home
    if index is None:
        return

    async def book(_: Request) -> Response:
        return page("The book", _contents(index))

    async def chapter(request: Request) -> Response:
        found = index.page(request.path_params["chapter"])
        if found is None:
            return error_response(404, "not_found", "No such chapter; see /book.")
        return page(found.title, f'<article class="book">{found.html}</article>')

    yield "/book", book
    yield "/book/{chapter}", chapter


def _contents(index: Index) -> str:
    sections: dict[str, list[str]] = {}
    for url, title, heading in index.headings():
        if "#" in url:
            link = f'<li><a href="{html.escape(url)}">{html.escape(heading)}</a></li>'
            sections.setdefault(title, []).append(link)
    chapters = (
        f'<h2><a href="/book/{html.escape(slug)}">{html.escape(title)}</a></h2>'
        f"<ul>{''.join(sections.get(title, ()))}</ul>"
        for slug, title in index.pages()
    )
    return "<h1>The book</h1>" + "".join(chapters)


def _policy(text: str) -> dict[str, str]:
    """No foreign script or style: only what the page itself carries, by hash.

    Framing stays allowed, for the Hub shows a Space in a frame on its own site.
    """
    sources = {
        tag: " ".join(
            f"'sha256-{base64.b64encode(hashlib.sha256(m.encode()).digest()).decode()}'"
            for m in re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        )
        or "'none'"
        for tag in ("script", "style")
    }
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; "
            f"script-src {sources['script']}; style-src {sources['style']}"
        )
    }
