"""Cookies in the Hub's frame, which is another site: which of them a browser keeps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
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
# Streamlit sets its cookie where its page looks whether the server is there, and needs it for uploads alone.
STREAMLIT_STATUS = "/_stcore/health"
_UPLOADS = re.compile(r"\b(file_uploader|camera_input|audio_input)\(|\baccept_(file|audio)\s*=")
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


def takes_files_by_streamlit(sources: Mapping[str, str]) -> bool:
    """Whether the code, by path, has a widget of Streamlit that uploads."""
    code = "\n".join(sources.values())
    return "streamlit" in code and _UPLOADS.search(code) is not None


def unsent_problems(sources: Mapping[str, str]) -> Iterator[Problem]:
    """express-session with `secure: true` that does not trust the proxy: it sends no cookie at all.

    sources: the code by path. Source: expressjs.com, express-session, cookie.secure.
    """
    code = "\n".join(sources.values())
    if "express-session" not in code or re.search(r"trust proxy|\bproxy\s*:\s*true", code):
        return
    for path, text in sources.items():
        if "express-session" in text and (secure := re.search(r"\bsecure\s*:\s*true\b", text)):
            yield Problem(
                "a session cookie behind the edge",
                f"{path} sets secure: true and does not trust the proxy: for Express each request came over "
                "http, so it sends no cookie, and each request starts a new session",
                "Write app.set('trust proxy', 1) before the session.",
                on_the_hub="visitors cannot stay signed in",
                file=path,
                line=text.count("\n", 0, secure.start()) + 1,
            )


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
    known = next((entry for entry in _KNOWN if re.fullmatch(entry[0], cookie.name)), None)
    given = cookie.attributes.get("samesite") or "absent"
    secure = "Secure" if "secure" in cookie.attributes else "no Secure"
    whose = f", {known[1]}" if known else ""
    return Problem(
        f"SameSite=None; Secure on the cookie {cookie.name}",
        f"GET {path} sets {cookie.name}{whose}: SameSite {given}, {secure}; a browser does "
        "not return it from the frame on huggingface.co",
        f"{known[2]}."
        if known
        else "Send SameSite=None; Secure; Partitioned where SPACE_HOST is set, and Lax elsewhere.",
        # Without a cookie that only remembers a choice, the Space still works.
        severity=Severity.RISK if known or _SIGN_IN.search(cookie.name) else Severity.ADVICE,
    )
