"""Reads PDF: a section for each page, with its heading from the outline."""

import html
import io
import logging
import re

from pypdf import PdfReader
from pypdf.errors import DependencyError
from pypdf.generic import Destination

from app.documents import Document, Section, Unreadable

# Its warnings about internal faults of a file do not help the owner of a book.
logging.getLogger("pypdf").setLevel(logging.ERROR)

# A line of a table of contents: it names every topic and explains none.
_LEADERS = re.compile(r"(?m)^.*(?:\. ?){5,}.*$")


def read_pdf(data: bytes, path: str, fallback: str) -> Document:
    """The document in `data`; raises Unreadable.

    Anchors are those of PDF viewers: `#page=3`. Source: RFC 8118, section 3.
    """
    try:
        reader = PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise Unreadable("it needs a password")
        headings = _headings(reader)
        texts = [page.extract_text() for page in reader.pages]
        title = str((reader.metadata and reader.metadata.title) or "").strip()
    except DependencyError:
        raise Unreadable("it is encrypted") from None
    except Unreadable:
        raise
    except Exception:
        # On a damaged file the library raises many kinds of errors.
        raise Unreadable("it is damaged, or not a PDF") from None
    sections = []
    heading = ""
    for number, text in enumerate(texts, 1):
        heading = headings.get(number, heading)
        section = Section(heading or f"Page {number}", f"page={number}", _paragraphs(text))
        if section.blocks:
            sections.append(section)
    if not sections:
        raise Unreadable("it holds no text; scanned pages need OCR first")
    shown = "".join(
        f'<h2 id="{section.anchor}">{html.escape(section.heading)}</h2>'
        + "".join(f"<p>{html.escape(block)}</p>" for block in section.blocks)
        for section in sections
    )
    title = title or fallback
    return Document(path, title, sections, f"<h1>{html.escape(title)}</h1>{shown}")


def _headings(reader: PdfReader) -> dict[int, str]:
    """The first heading of the outline on each page, by page number."""
    found: dict[int, str] = {}

    def walk(entries: list[object]) -> None:
        for entry in entries:
            if isinstance(entry, list):
                walk(entry)
            elif isinstance(entry, Destination):
                page = reader.get_destination_page_number(entry)
                if page is not None and entry.title:
                    found.setdefault(page + 1, " ".join(str(entry.title).split()))

    walk(list(reader.outline))
    return found


def _paragraphs(text: str) -> list[str]:
    """The paragraphs of a page, with their lines and hyphenated words joined."""
    text = _LEADERS.sub("", text)
    text = re.sub(r"(?<=\w)-\n(?=[a-z])", "", text)
    return [line for part in re.split(r"\n\s*\n", text) if (line := " ".join(part.split()))]
