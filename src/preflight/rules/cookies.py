"""Cookies in the Hub's frame, which is another site: which of them a browser keeps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from preflight.model.problems import Problem, Severity

# The framework that sets a cookie of this name, and the setting that changes it.
_KNOWN: tuple[tuple[str, str, str], ...] = (
    (r"_streamlit_xsrf|_xsrf", "Streamlit's XSRF check", "server.enableXsrfProtection = false in .streamlit/config.toml"),
    (r"connect\.sid", "express-session", "session({cookie: {sameSite: 'none', secure: true}, proxy: true})"),
    (r"session", "Flask or Starlette", "SESSION_COOKIE_SAMESITE='None' and SESSION_COOKIE_SECURE=True; Starlette: SessionMiddleware(same_site='none', https_only=True)"),
    (r"sessionid", "Django's session", "SESSION_COOKIE_SAMESITE = 'None' and SESSION_COOKIE_SECURE = True"),
    (r"csrftoken", "Django's CSRF check", "CSRF_COOKIE_SAMESITE = 'None' and CSRF_COOKIE_SECURE = True"),
    (r"XSRF-TOKEN|laravel_session", "Laravel", "SESSION_SAME_SITE=none and SESSION_SECURE_COOKIE=true"),
    (r"_[a-z0-9_]+_session", "Rails", "Rails.application.config.session_store …, same_site: :none, secure: true"),
    (r"PHPSESSID", "PHP", "session.cookie_samesite = None and session.cookie_secure = On"),
    (r"JSESSIONID", "a Java server", "server.servlet.session.cookie.same-site=none and .secure=true"),
    (r"(__Secure-|__Host-)?(next-auth|authjs)\..*", "Auth.js", "cookies: {…: {options: {sameSite: 'none', secure: true}}}"),
    (r"(__Secure-)?better-auth\..*", "Better Auth", "advanced.defaultCookieAttributes: {sameSite: 'none', secure: true, partitioned: true}"),
    (r"access-token-[0-9a-f]+|access-token", "Gradio's sign-in", "use the newest Gradio, which sets SameSite=None on https"),
)  # fmt: skip
_SIGN_IN = re.compile(r"sess|sid\b|auth|token|csrf|xsrf|jwt|login|user", re.I)


@dataclass(frozen=True)
class Cookie:
    """A `Set-Cookie` header; `attributes` by lower-case name."""

    name: str
    value: str
    attributes: dict[str, str]

    @classmethod
    def of_header(cls, header: str) -> Cookie:
        """Read one header's value."""
        first, *rest = header.split(";")
        name, _, value = first.strip().partition("=")
        pairs = (part.strip().partition("=") for part in rest)
        return cls(name, value, {key.lower(): given.strip() for key, _, given in pairs})

    @property
    def deleted(self) -> bool:
        return not self.value or self.attributes.get("max-age") in ("0", "-1")

    @property
    def survives(self) -> bool:
        """Whether a browser returns the cookie from a frame on another site."""
        return self.attributes.get("samesite", "").lower() == "none" and "secure" in self.attributes


def cookie_problems(headers: Iterable[str], path: str, host: str) -> Iterator[Problem]:
    """`Set-Cookie` headers of GET `path` that the frame loses."""
    for cookie in map(Cookie.of_header, headers):
        if cookie.deleted:
            continue
        domain = cookie.attributes.get("domain", "").lower().lstrip(".")
        if domain and domain != host:
            yield Problem(
                f"no Domain on the cookie {cookie.name}, or Domain={host}",
                f"GET {path} sets {cookie.name} with Domain={domain}, which browsers refuse: hf.space "
                "is a public suffix, and a browser accepts no foreign domain",
                "Leave Domain out: the cookie then belongs to the Space's own host.",
                severity=Severity.RISK,
            )
        elif not cookie.survives:
            yield _lost(cookie, path)


def _lost(cookie: Cookie, path: str) -> Problem:
    known = next((one for one in _KNOWN if re.fullmatch(one[0], cookie.name)), None)
    given = cookie.attributes.get("samesite") or "absent"
    secure = "Secure" if "secure" in cookie.attributes else "no Secure"
    whose = f", {known[1]}" if known else ""
    return Problem(
        f"SameSite=None; Secure on the cookie {cookie.name}",
        f"GET {path} sets {cookie.name}{whose}: SameSite {given}, {secure}; a browser does "
        "not return it from the frame on huggingface.co",
        (f"{known[2]}. " if known else "")
        + "Send SameSite=None; Secure; Partitioned where SPACE_HOST is set, and Lax elsewhere.",
        # Without a cookie that only remembers a choice, the Space still works.
        severity=Severity.RISK if known or _SIGN_IN.search(cookie.name) else Severity.ADVICE,
    )
