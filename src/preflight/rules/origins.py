"""Origins in a list of the code that no browser sends as they are written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

# A name for allowed origins, and the list or string that it gets.
_LISTED = re.compile(
    r"origins?[\"']?\s*(?::[^=\n\"']*(?==))?[=:(]\s*(?P<value>\[[^\]]*\]|\"[^\"\n]*\"|'[^'\n]*'|`[^`\n$]*`)",
    re.I,
)
_TEXT = re.compile(r"\"([^\"\n]+)\"|'([^'\n]+)'|`([^`\n$]+)`")
_HOST = re.compile(r"(?:[a-z0-9-]+\.)+[a-z]{2,}(?::\d+)?|localhost:\d+", re.I)


@dataclass(frozen=True)
class Misspelt:
    """`written` in line `line` of `file`; a browser sends `origin` in its place."""

    written: str
    origin: str
    file: str
    line: int


def misspelt_origins(sources: Mapping[str, str]) -> Iterator[Misspelt]:
    """Texts in lists of origins that have a slash or a path at the end, no scheme, or capitals.

    Source: RFC 6454, 6.2: an origin is scheme, host and port, in lower case.
    """
    for name, text in sources.items():
        for listed in _LISTED.finditer(text):
            for found in _TEXT.finditer(listed["value"]):
                written = next(group for group in found.groups() if group)
                origin = _origin(written)
                if origin and origin != written:
                    line = text.count("\n", 0, listed.start("value") + found.start()) + 1
                    yield Misspelt(written, origin, name, line)


def _origin(written: str) -> str | None:
    """The origin of a site that `written` means; None for a pattern and other texts."""
    if re.fullmatch(_HOST, written):
        return ("http://" if written.startswith("localhost") else "https://") + written.lower()
    address = urlsplit(written)
    if address.scheme not in ("http", "https") or not re.fullmatch(_HOST, address.netloc):
        return None
    return f"{address.scheme}://{address.netloc}".lower()
