"""A Space's page in a real browser, inside a frame of huggingface.co as the Hub shows it.

Needs Playwright (the extra `browser`) and an installed Chromium. The public names are real, so the
Public Suffix List and the rules on third-party cookies apply.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from preflight.engine import install
from preflight.engine.browser import installed, steady
from preflight.engine.edge import ThroughEdge
from preflight.rules.pages import is_local

LOAD_MS = 5000
# Time for a loaded page's first requests and first drawing.
SETTLE_MS = 2500
ARGUMENTS = (
    *("--no-sandbox", "--disable-quic", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
    # The public names lead to this machine here, which the browser blocks for a page of another site.
    "--disable-features=LocalNetworkAccessChecks",
)
HUB_PAGE = "https://huggingface.co/spaces/{owner}/{name}"
# As the Hub's page frames a Space. Source: hub-docs spaces-embed.md.
FRAME = """<!doctype html><title>The Hub's page</title><style>body{{margin:0}}</style>
<iframe src="{url}" width="1280" height="800" frameborder="0"
  allow="accelerometer; camera; clipboard-read; clipboard-write; microphone; fullscreen"></iframe>"""
# Whether a visitor sees anything: text, or something that is drawn.
VISIBLE = """() => {
  if (!document.body) return 0;
  const drawn = [...document.querySelectorAll("canvas,img,svg,video,iframe,input,button,select,textarea")];
  const seen = drawn.filter((element) => { const box = element.getBoundingClientRect(); return box.width * box.height > 0; });
  return document.body.innerText.trim().length + seen.length;
}"""


class NoBrowser(Exception):
    """Playwright or Chromium is not installed; the message says what to do."""


@dataclass
class Rendered:
    """The page in a visitor's browser.

    blank: nothing is visible. errors: uncaught errors of its scripts. failed: requests to the
    Space that got an error or no answer. local: requests to the visitor's machine or a private
    network, which were blocked.
    """

    blank: bool
    errors: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    local: list[str] = field(default_factory=list)
    screenshot: Path | None = None


def missing() -> str:
    """What must be installed before a page can be rendered; empty when nothing is missing."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "Playwright is not installed: pip install 'preflight-for-spaces[browser]'"
    return "" if installed() else "there is no Chromium or Chrome on the PATH: install one"


def render(space: ThroughEdge, path: str, owner: str, screenshot: Path) -> Rendered:
    """Open the Hub's page with the Space in its frame, and observe it for some seconds.

    Raises NoBrowser.
    """
    if reason := missing():
        raise NoBrowser(reason)
    from playwright.sync_api import sync_playwright

    port = urlsplit(space.url).port
    rules = f"--host-resolver-rules=MAP {space.host} {install.host()}:{port}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=steady(screenshot.parent),
            env={**os.environ, "PROGRAM": installed() or ""},
            args=[*ARGUMENTS, rules],
            timeout=15_000,
        )
        try:
            page = browser.new_page(
                ignore_https_errors=True, viewport={"width": 1280, "height": 800}
            )
            return _seen(
                page, space.host, path, HUB_PAGE.format(owner=owner, name=space.name), screenshot
            )
        finally:
            browser.close()


def _seen(page: Any, host: str, path: str, hub_page: str, screenshot: Path) -> Rendered:
    from playwright.sync_api import Error as PlaywrightError

    found = Rendered(False)
    frame_url = f"https://{host}{path}"
    page.on("pageerror", lambda error: found.errors.append(str(error).splitlines()[0][:200]))
    page.on("requestfailed", lambda request: _failed(found, host, request))
    page.on("response", lambda response: _answered(found, host, response))

    def routed(route: Any) -> None:
        url = route.request.url
        if url == hub_page:
            route.fulfill(status=200, content_type="text/html", body=FRAME.format(url=frame_url))
        elif is_local((urlsplit(url).hostname or "").lower()):
            found.local.append(f"{route.request.method} {url[:200]}")
            route.abort()
        else:
            route.continue_()

    page.route("**/*", routed)
    page.on("websocket", lambda socket: _opened(found, socket))
    # A page that never ends loading is judged as it is.
    with suppress(PlaywrightError):
        page.goto(hub_page, wait_until="load", timeout=LOAD_MS)
        page.wait_for_load_state("networkidle", timeout=SETTLE_MS)
    frames = [frame for frame in page.frames if urlsplit(frame.url).hostname == host]
    found.blank = not frames or not frames[0].evaluate(VISIBLE)
    screenshot.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(screenshot))
    found.screenshot = screenshot
    return found


def _failed(found: Rendered, host: str, request: Any) -> None:
    # A request that the page aborted by navigating is not a failure.
    if urlsplit(request.url).hostname == host and "ERR_ABORTED" not in str(request.failure):
        found.failed.append(f"{request.method} {request.url[:200]}: {request.failure}")


def _answered(found: Rendered, host: str, response: Any) -> None:
    parts = urlsplit(response.url)
    if parts.hostname == host and response.status >= 400 and parts.path != "/favicon.ico":
        found.failed.append(f"{response.request.method} {response.url[:200]}: {response.status}")


def _opened(found: Rendered, socket: Any) -> None:
    if is_local((urlsplit(socket.url).hostname or "").lower()):
        found.local.append(f"WebSocket {socket.url[:200]}")
