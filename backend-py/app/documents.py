"""Documents, and their chunks: cut at headings, each with a stable URL."""

import hashlib
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import quote

from app.embedded import Chunk

CHUNK_CHARS = 1200


class Unreadable(Exception):
    """A document cannot be read; the message is the reason."""


@dataclass
class Section:
    heading: str
    anchor: str
    blocks: list[str] = field(default_factory=list)


@dataclass
class Document:
    """A page. `path` is relative to the book's address."""

    path: str
    title: str
    sections: list[Section]
    html: str


def page_url(base_url: str, path: str) -> str:
    return base_url + quote(path)


def to_chunks(document: Document, base_url: str) -> Iterator[Chunk]:
    """Chunks of at most CHUNK_CHARS characters; a code block is never cut."""
    page = page_url(base_url, document.path)
    for section in document.sections:
        url = f"{page}#{section.anchor}" if section.anchor else page
        for number, text in enumerate(_pack(section.blocks)):
            digest = hashlib.sha256(
                "\0".join((document.title, section.heading, text)).encode()
            ).hexdigest()
            identity = uuid.uuid5(uuid.NAMESPACE_URL, f"{url} {number} {digest}")
            yield Chunk(
                str(identity), document.path, url, document.title, section.heading, text, digest
            )


def _pack(blocks: list[str]) -> Iterator[str]:
    packed = ""
    for block in blocks:
        for piece in _split(block):
            if packed and len(packed) + len(piece) + 2 > CHUNK_CHARS:
                yield packed
                packed = ""
            packed = f"{packed}\n\n{piece}" if packed else piece
    if packed:
        yield packed


def _split(block: str) -> Iterator[str]:
    if len(block) <= CHUNK_CHARS or block.startswith("```"):
        yield block
        return
    piece = ""
    for part in re.split(r"(?<=[.!?])\s+|\n", block):
        if piece and len(piece) + len(part) + 1 > CHUNK_CHARS:
            yield piece
            piece = ""
        piece = f"{piece} {part}" if piece else part
        while len(piece) > CHUNK_CHARS:
            cut = piece.rfind(" ", 1, CHUNK_CHARS)
            cut = cut if cut > 0 else CHUNK_CHARS
            yield piece[:cut]
            piece = piece[cut:].lstrip()
    if piece:
        yield piece
