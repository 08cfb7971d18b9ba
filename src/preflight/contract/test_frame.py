"""The frame: the page on huggingface.co shows the Space in an <iframe> of another site."""

from __future__ import annotations

from preflight.contract.findings import not_promised, require_none
from preflight.engine.visitor import Visit
from preflight.rules.cookies import cookie_problems
from preflight.rules.frame import frame_problems, isolation_problems, values
from preflight.rules.pages import Page


def test_lets_the_hub_show_the_page(visited: Visit, front_page: str) -> None:
    """No header of the front page keeps huggingface.co from showing it in a frame.

    Severity: breaks

    On the Hub: the Space's page is blank, "refused to connect"; the address on hf.space works

    Fix: Leave X-Frame-Options out, or send Content-Security-Policy: frame-ancestors 'self'
    https://huggingface.co, which overrules it.

    Source: Content Security Policy Level 3, 6.4.2; hub-docs spaces-embed.md;
    github.com/qdonnars/ohmywind/pull/191.
    """
    require_none(frame_problems(visited.front.headers, front_page))


def test_isolation_leaves_the_page_whole(visited: Visit, page: Page) -> None:
    """Under Cross-Origin-Embedder-Policy: require-corp the page's files of other sites are marked `crossorigin`.

    Severity: risk

    On the Hub: scripts, styles or frames of other sites are missing: "blocked by response"

    Fix: Write `crossorigin` on the tags, serve the files yourself, or send `credentialless`.

    Source: HTML Living Standard, 7.1.4 Cross-origin embedder policies.
    """
    headers = visited.front.headers
    if not values(headers, "cross-origin-embedder-policy"):
        not_promised("the page sends no Cross-Origin-Embedder-Policy")
    require_none(isolation_problems(headers, page))


def test_keeps_its_cookies(visited: Visit) -> None:
    """Cookies that the front page or a sign-in page sets come back from the frame: SameSite=None; Secure.

    Severity: risk

    On the Hub: a visitor of the Space's page signs in and is signed out at once, or each form
    answers 403; the address on hf.space works

    Fix: SameSite=None; Secure; Partitioned, and no Domain.

    Source: hub-docs spaces-cookie-limitations.md; publicsuffix.org lists hf.space.
    """
    pages = {hop.url: hop for hop in visited.hops}
    entrances = ("login", "signin", "sign-in", "auth", "account")
    pages |= {
        one.url: one
        for path, one in visited.paths.items()
        if any(word in path for word in entrances)
    }
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
