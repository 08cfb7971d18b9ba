"""backend-py's page must serve every reader: by keyboard, on a phone, in the dark, with a screen reader."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.conftest import Sites

QUESTION = "Why do I get Permission denied on /.cache?"
HOSTILE = """Read `a < b` and **this**:

- one <img src=x onerror="document.title='run'">
- [safe](https://docs.example/a) and [unsafe](javascript:document.title='run')

```html
<script>document.title = 'run'</script>
```

The end."""


@pytest.fixture
def scheme() -> Literal["light", "dark"]:
    return "light"


@pytest.fixture
def page(sites: Sites, plain_chromium: Browser, scheme: Literal["light", "dark"]) -> Iterator[Page]:
    """The page on a phone, in the colour scheme of the test."""
    with plain_chromium.new_context(
        viewport={"width": 360, "height": 740}, color_scheme=scheme
    ) as context:
        opened = context.new_page()
        opened.goto(sites.backend_py.url)
        yield opened


def answered(page: Page, text: str, cited: str, mode: str = "extractive") -> None:
    """Make the service answer with `text`, whose part `cited` cites a source."""
    source = {"id": "a", "title": "A page", "url": "/book/run", "score": 0.9, "snippet": cited}
    start = text.index(cited)
    events: list[tuple[str, dict[str, Any]]] = [
        ("meta", {"id": "0" * 16, "mode": mode, "degraded": False, "degraded_by": []}),
        ("sources", {"sources": [source]}),
        ("delta", {"text": text}),
        ("citation", {"start": start, "end": start + len(cited), "sources": ["a"]}),
        ("done", {"grounded": True, "finish_reason": "COMPLETE"}),
    ]
    body = "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in events)

    def fulfil(route: Route) -> None:
        route.fulfill(body=body, content_type="text/event-stream")

    page.route("**/chat/stream", fulfil)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_answer_is_readable_on_a_phone(page: Page, scheme: str, tmp_path: Path) -> None:
    """A question by keyboard alone must give an answer that fits 360 px and in which axe finds no fault."""
    page.keyboard.press("Tab")
    page.get_by_label("Your question").focus()
    page.keyboard.type("Why do I get")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("Permission denied on /.cache?")
    expect(page.get_by_label("Your question")).to_have_value(QUESTION.replace("get ", "get\n"))
    page.keyboard.press("Enter")
    answer = page.locator("#answer")
    expect(answer.locator("pre code").first).to_be_visible()
    expect(answer).not_to_contain_text("```")
    expect(answer.get_by_role("link", name="Source 1").first).to_have_attribute(
        "href", "/book/failures-run-and-edge#permission-denied-errno-13-on-cache-app-or-data"
    )
    expect(page.locator("#sources .snippet").first).not_to_be_empty()
    page.screenshot(path=tmp_path / f"answer-{scheme}.png", full_page=True)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
    faults = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    assert not faults, [
        (fault["id"], [node["html"] for node in fault["nodes"]]) for fault in faults
    ]


def test_an_answer_is_never_parsed_as_html(page: Page) -> None:
    """Markdown must render, and HTML or a script address inside it must stay text."""
    answered(page, HOSTILE, "The end.")
    page.get_by_label("Your question").fill("x")
    page.keyboard.press("Enter")
    answer = page.locator("#answer")
    expect(answer.locator("sup a")).to_have_text("[1]")
    expect(answer.locator("li")).to_have_count(2)
    expect(answer.locator("pre code")).to_have_text("<script>document.title = 'run'</script>")
    expect(answer.locator("p code")).to_have_text("a < b")
    expect(answer.get_by_role("link", name="safe", exact=True)).to_be_visible()
    expect(answer.locator("a[href^='javascript']")).to_have_count(0)
    expect(answer.locator("img, script")).to_have_count(0)
    assert page.title() == "Ask the book"


def test_the_wait_is_shown_and_can_be_ended(page: Page) -> None:
    """The page must show that an answer is pending, and Stop must end it."""
    page.route("**/chat/stream", lambda route: None)
    page.get_by_role("group", name="Examples").get_by_role("button").first.click()
    expect(page.get_by_role("status")).to_have_text("Searching the book…")
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_disabled()
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("status")).to_have_text("Stopped.")
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_enabled()


def test_a_refusal_offers_the_nearest_sections(page: Page) -> None:
    """For a question outside the book, the page must say so and link the nearest sections."""
    page.get_by_label("Your question").fill("How do I bake sourdough bread?")
    page.keyboard.press("Enter")
    expect(page.locator("#answer")).to_contain_text("does not seem to answer this")
    expect(page.get_by_role("heading", name="Nearest sections")).to_be_visible()
    expect(page.locator("#sources a")).to_have_count(3)
