"""Pages for browsers: a form to try the service, the built-in book, the reference of the API."""

import base64
import hashlib
import html
import re
from collections.abc import Iterator
from pathlib import Path
from string import Template
from urllib.parse import quote

import fastapi_offline
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from app import VERSION
from app.embedded import Index
from app.errors import error_response

EXAMPLES = 3
_FOLDER = Path(__file__).parent / "html"
# Local files of Swagger UI: FastAPI's page loads it from a CDN, which could track every reader.
_SWAGGER_UI = Path(fastapi_offline.__file__).parent / "static"


def routes(index: Index | None) -> Iterator[BaseRoute]:
    """Routes of the pages and of their scripts; all answer GET and HEAD."""
    layout = Template((_FOLDER / "layout.html").read_text())
    try_it = Template((_FOLDER / "try.html").read_text())

    def page(title: str, main: str) -> Response:
        text = layout.substitute(title=html.escape(title), main=main)
        return Response(text, media_type="text/html", headers=_policy(text))

    home_page = page("Ask the book", try_it.substitute(examples="".join(_examples(index))))
    home_page.headers["Vary"] = "Accept"
    home_json = JSONResponse(
        {"name": "backend-py", "version": VERSION, "docs": "/docs", "book": "/book"},
        headers={"Vary": "Accept"},
    )

    async def home(request: Request) -> Response:
        return home_page if "text/html" in request.headers.get("accept", "") else home_json

    yield Route("/", home)

    parts = ("markdown.js", "answer.js", "widget.js")
    # Wrapped in a function, so that its names do not clash with those of the page that loads it.
    widget_script = Response(
        f"(() => {{\n{''.join((_FOLDER / part).read_text() for part in parts)}}})();\n",
        media_type="text/javascript",
        # Pages on other sites load it, including cross-origin isolated pages.
        headers={"Cross-Origin-Resource-Policy": "cross-origin", "Cache-Control": "max-age=3600"},
    )

    async def widget(_: Request) -> Response:
        return widget_script

    yield Route("/widget.js", widget)

    for name in ("markdown.js", "answer.js", "ask.js"):
        script = Response((_FOLDER / name).read_bytes(), media_type="text/javascript")

        async def scripted(_: Request, script: Response = script) -> Response:
            return script

        yield Route(f"/page/{name}", scripted)

    reference_page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="API",
        swagger_js_url="/docs/assets/swagger-ui-bundle.js",
        swagger_css_url="/docs/assets/swagger-ui.css",
        swagger_favicon_url="data:,",
        # Otherwise the page would send the address of this Space to validator.swagger.io.
        swagger_ui_parameters={"validatorUrl": None},
    )
    reference_page.headers.update(_policy(bytes(reference_page.body).decode()))

    async def reference(_: Request) -> Response:
        return reference_page

    yield Route("/docs", reference)
    yield Mount("/docs/assets", StaticFiles(directory=_SWAGGER_UI))
    if index is None:
        return

    async def book(_: Request) -> Response:
        return page("The book", _contents(index))

    async def chapter(request: Request) -> Response:
        path = request.path_params["path"].rstrip("/")
        found = index.page(path)
        if found:
            return page(found.title, f'<article class="book">{found.html}</article>')
        if not path:
            return await book(request)
        return error_response(404, "not_found", "This chapter does not exist; see /book.")

    yield Route("/book", book)
    yield Route("/book/{path:path}", chapter)


def _examples(index: Index | None) -> Iterator[str]:
    """Buttons with example questions, taken from headings of the book."""
    headings = [heading for _, _, heading in index.headings()] if index else []
    asking = [heading for heading in headings if heading.endswith("?")] or headings
    step = max(1, len(asking) // EXAMPLES)
    for heading in asking[step // 2 :: step][:EXAMPLES]:
        yield f'<button class="plain" type="button" data-example>{html.escape(heading)}</button>'


def _contents(index: Index) -> str:
    sections: dict[str, list[str]] = {}
    for url, _, heading in index.headings():
        page, anchor, _ = url.partition("#")
        if anchor:
            link = f'<li><a href="{html.escape(url)}">{html.escape(heading)}</a></li>'
            sections.setdefault(page.rstrip("/"), []).append(link)
    chapters = (
        f'<h2><a href="/book/{quote(slug)}">{html.escape(title)}</a></h2>'
        f"<ul>{''.join(sections.get(f'/book/{quote(slug)}'.rstrip('/'), ()))}</ul>"
        for slug, title in index.pages()
    )
    return "<h1>The book</h1>" + "".join(chapters)


def _policy(text: str) -> dict[str, str]:
    """Headers that allow only scripts and styles of this Space, inline ones by their hash.

    Framing stays allowed, because the Hub shows a Space in a frame.
    """
    sources = {
        tag: " ".join(
            f"'sha256-{base64.b64encode(hashlib.sha256(m.encode()).digest()).decode()}'"
            for m in re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        )
        for tag in ("script", "style")
    }
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; "
            f"script-src 'self' {sources['script']}; style-src 'self' {sources['style']}"
        )
    }
