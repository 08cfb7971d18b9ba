"""Addresses that a server builds for itself: redirects, sign-in callbacks, links, documented servers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, urljoin, urlsplit

from preflight.model.problems import Problem, Severity
from preflight.rules.pages import is_local

TRUST = (
    "Trust the edge's X-Forwarded-Proto and Host: uvicorn --proxy-headers --forwarded-allow-ips='*', "
    "gunicorn --forwarded-allow-ips='*', Flask ProxyFix, Django SECURE_PROXY_SSL_HEADER, Express "
    "app.set('trust proxy', 1), Rails config.assume_ssl; or build addresses from SPACE_HOST."
)
_CALLBACKS = {
    "redirect_uri",
    "redirect_url",
    "callback",
    "callback_url",
    "redirectto",
    "redirect_to",
}


def redirect_problem(url: str, location: str, severity: Severity | None = None) -> Problem | None:
    """The problem of a redirect from a public address; None if a visitor can follow it."""
    target = urljoin(url, location)
    reason = unreachable(target, urlsplit(url).netloc)
    if reason is None and target.split("#")[0] == url.split("#")[0]:
        reason = "the redirect leads to the same address, without end"
    if reason is None:
        return None
    return Problem(
        f"redirects below https://{urlsplit(url).netloc}",
        f"GET {urlsplit(url).path or '/'} redirects to {location}: {reason}",
        TRUST,
        severity=severity,
    )


def unreachable(target: str, host: str) -> str | None:
    """Why a visitor cannot follow an address that the server built for itself; None for any other."""
    try:
        parts = urlsplit(target)
        name, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        return "the address is invalid"
    if is_local(name) or re.fullmatch(r"[0-9a-f]{12}", name):
        return f"{name} is this container's or the visitor's own machine"
    if name != host.lower():
        return None
    if parts.scheme in ("http", "ws"):
        return f"a frame on https://huggingface.co may not load {parts.scheme}://"
    if port not in (None, 443):
        return f"the Hub opens no port {port}"
    return None


def callback_problem(url: str, location: str) -> Problem | None:
    """A redirect to an identity provider whose callback does not lead back to the public address."""
    host = urlsplit(url).netloc
    for name, value in parse_qsl(urlsplit(urljoin(url, location)).query):
        if name.lower() not in _CALLBACKS or not value.startswith(("http://", "https://")):
            continue
        parts = urlsplit(value)
        if parts.scheme != "https" or parts.netloc.lower() != host.lower():
            return Problem(
                f"a callback below https://{host}",
                f"GET {urlsplit(url).path} sends the visitor to sign in with {name}={value}",
                TRUST,
            )
    return None


def address_problems(named: list[tuple[str, str]], host: str) -> Iterator[Problem]:
    """Absolute addresses by which the Space names itself and that a visitor cannot follow."""
    for place, address in named:
        reason = unreachable(urljoin(f"https://{host}/", address), host)
        if reason:
            yield Problem(
                f"addresses below https://{host}", f"{place} is {address}: {reason}", TRUST
            )
