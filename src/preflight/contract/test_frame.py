"""The frame: the page on huggingface.co shows the Space in an `<iframe>`, as part of another site."""

from __future__ import annotations

import pytest

from preflight.contract.findings import not_promised, require_none
from preflight.engine.answering import Answering
from preflight.engine.visitor import Visit, ask
from preflight.model.space import Space
from preflight.rules.cookies import STREAMLIT_STATUS, cookie_problems, takes_files_by_streamlit
from preflight.rules.frame import frame_problems, isolation_problems, values
from preflight.rules.pages import Page


def test_lets_the_hub_show_the_page(visited: Visit, front_page: str) -> None:
    """No header of the front page prevents huggingface.co from showing it in a frame.

    Severity: breaks

    On the Hub: the Space's page is blank, or "refused to connect"; the address on hf.space works

    Fix: Do not send X-Frame-Options, or send Content-Security-Policy: frame-ancestors 'self'
    https://huggingface.co, which overrides it.

    Source: Content Security Policy Level 3, 6.4.2; hub-docs spaces-embed.md;
    github.com/qdonnars/ohmywind/pull/191.
    """
    require_none(frame_problems(visited.front.headers, front_page))


def test_isolation_leaves_the_page_whole(visited: Visit, page: Page) -> None:
    """If the page sends Cross-Origin-Embedder-Policy: require-corp, its tags for files of other sites have `crossorigin`.

    Severity: risk

    On the Hub: scripts, styles or frames of other sites are missing: "blocked by response"

    Fix: Add `crossorigin` to the tags, serve the files from the Space, or send `credentialless`.

    Source: HTML Living Standard, 7.1.4 Cross-origin embedder policies.
    """
    headers = visited.front.headers
    if not values(headers, "cross-origin-embedder-policy"):
        not_promised("the page sends no Cross-Origin-Embedder-Policy")
    require_none(isolation_problems(headers, page))


def test_keeps_its_cookies(
    visited: Visit, subject: Answering, space: Space, request: pytest.FixtureRequest
) -> None:
    """Cookies of the front page, of sign-in pages and of Streamlit's uploads have SameSite=None; Secure, so that the browser sends them from the frame.

    Severity: risk

    On the Hub: on the Space's page, a visitor is signed out right after signing in, or each form
    answers 403; the address on hf.space works

    Fix: Set SameSite=None; Secure; Partitioned, and no Domain.

    Source: hub-docs spaces-cookie-limitations.md; publicsuffix.org lists hf.space.
    """
    pages = {hop.url: hop for hop in visited.hops}
    entrances = ("login", "signin", "sign-in", "auth", "account")
    pages |= {
        page.url: page
        for path, page in visited.paths.items()
        if any(word in path for word in entrances)
    }
    # Of a URL alone there is no code.
    if space.source and takes_files_by_streamlit(request.getfixturevalue("sources").running):
        status = ask(subject, STREAMLIT_STATUS, public=visited.front.url)
        pages[status.url] = status
    given = [(url, values(answer.headers, "set-cookie")) for url, answer in pages.items()]
    if not any(cookies for _, cookies in given):
        not_promised("neither the front page nor a sign-in page sets a cookie")
    require_none(
        {
            # Several pages set the same cookie.
            problem.expected: problem
            for url, cookies in given
            for problem in cookie_problems(
                cookies, url.removeprefix(f"https://{visited.host}"), visited.host
            )
        }.values()
    )
