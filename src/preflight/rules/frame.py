"""The Hub's frame: whether huggingface.co may show a page, by the page's own headers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from preflight.model.problems import Problem, Severity
from preflight.rules.pages import Page

PARENT = "https://huggingface.co"
"""The site whose page contains the frame. Source: hub-docs spaces-embed.md."""

Headers = Sequence[tuple[str, str]]
"""Names and values, as often as the server sent them."""


def frame_problems(headers: Headers, path: str) -> Iterator[Problem]:
    """Headers that leave the frame blank.

    A browser that finds `frame-ancestors` ignores X-Frame-Options. Every policy must allow the frame.
    Source: Content Security Policy Level 3, 6.4.2; HTML, "The X-Frame-Options header".
    """
    policies = [
        part for value in values(headers, "content-security-policy") for part in value.split(",")
    ]
    ancestors = [
        found for policy in policies if (found := directive(policy, "frame-ancestors")) is not None
    ]
    for sources in ancestors:
        if not any(_lets_in(source) for source in sources):
            yield Problem(
                f"GET {path} without `frame-ancestors`, or with {PARENT} in it",
                f"Content-Security-Policy: frame-ancestors {' '.join(sources) or chr(39) + 'none' + chr(39)}",
                f"Add {PARENT} to frame-ancestors, or leave the directive out (helmet: "
                "contentSecurityPolicy.directives.frameAncestors).",
            )
            return
    if ancestors:
        return
    for value in values(headers, "x-frame-options"):
        # ALLOW-FROM and unknown words are ignored by browsers.
        refused = {part.strip().upper() for part in value.split(",")} & {"DENY", "SAMEORIGIN"}
        if refused:
            yield Problem(
                f"GET {path} without X-Frame-Options, or with {PARENT} in `frame-ancestors`",
                f"X-Frame-Options: {value}, which forbids the frame on huggingface.co",
                "Leave the header out, or send Content-Security-Policy: frame-ancestors 'self' "
                f"{PARENT}, which overrides it (helmet: frameguard: false; Django: "
                "XFrameOptionsMiddleware; nginx, Caddy: the add_header or header line).",
            )
            return


def isolation_problems(headers: Headers, page: Page) -> Iterator[Problem]:
    """Cross-Origin-Embedder-Policy: require-corp, with files of other sites that do not opt in."""
    policy = " ".join(values(headers, "cross-origin-embedder-policy")).lower()
    if "require-corp" not in policy:
        return
    foreign = [
        asset.written
        for asset in page.assets
        if not page.own(asset.url)
        and not asset.crossorigin
        and asset.kind in ("script", "style", "frame")
    ]
    if foreign:
        yield Problem(
            "files of other sites with `crossorigin`, under Cross-Origin-Embedder-Policy: require-corp",
            f"the page names {', '.join(foreign[:3])} without `crossorigin`",
            "Write crossorigin on the tag, serve the file yourself, or send `credentialless`.",
            severity=Severity.RISK,
        )


def values(headers: Headers, name: str) -> list[str]:
    """All values of a header."""
    return [value for given, value in headers if given.lower() == name]


def directive(policy: str, name: str) -> list[str] | None:
    """The sources of one directive of a policy; None where the policy has no such directive."""
    for part in policy.split(";"):
        words = part.split()
        if words and words[0].lower() == name:
            return words[1:]
    return None


def _lets_in(source: str) -> bool:
    source = source.lower().rstrip("/")
    if source in ("*", "https:", PARENT):
        return True
    parts = urlsplit(source if "://" in source else f"https://{source}")
    host = parts.hostname or ""
    if parts.scheme not in ("https", "http"):
        return False
    return host == "huggingface.co" and parts.port in (None, 443)
