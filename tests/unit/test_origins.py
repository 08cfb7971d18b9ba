"""Texts in a list of origins that no browser sends must be found, and what browsers send must not."""

from __future__ import annotations

import pytest

from preflight.rules.origins import misspelt_origins


@pytest.mark.parametrize(
    ("text", "written", "origin"),
    [
        ('allow_origins=["https://a.vercel.app/"]', "https://a.vercel.app/", "https://a.vercel.app"),
        ('origins = [\n  "http://localhost:3000/",\n]', "http://localhost:3000/", "http://localhost:3000"),
        ("cors({ origin: 'https://a.vercel.app/book' })", "https://a.vercel.app/book", "https://a.vercel.app"),
        ('const allowedOrigins: string[] = ["my-app.vercel.app"]', "my-app.vercel.app", "https://my-app.vercel.app"),
        ('ALLOWED_ORIGINS = ["https://Me.github.io"]', "https://Me.github.io", "https://me.github.io"),
        ('cors_allowed_origins=["localhost:5173"]', "localhost:5173", "http://localhost:5173"),
    ],
)  # fmt: skip
def test_must_find_a_text_that_no_browser_sends(text: str, written: str, origin: str) -> None:
    (found,) = misspelt_origins({"app.py": f"\n{text}\n"})
    assert (found.written, found.origin) == (written, origin)
    assert found.line == 2 + text[: text.index(written)].count("\n")


@pytest.mark.parametrize(
    "text",
    [
        'allow_origins=["https://a.vercel.app", "http://localhost:3000", "*"]',
        'allow_origin_regex="https://.*\\\\.vercel\\\\.app/"',
        'origins = os.environ["CORS_ORIGINS"].split(",")',
        "origin: process.env.FRONTEND_URL",
        'original = "https://a.vercel.app/"',
        'trustedOrigins: ["https://*.vercel.app"]',
    ],
)
def test_must_accept_what_browsers_send(text: str) -> None:
    assert list(misspelt_origins({"app.py": text})) == []
