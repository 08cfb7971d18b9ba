"""Reads a folder of documents into pages, and reports which files were left out and why."""

import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup

from app.documents import Document, Unreadable, page_url
from app.readers.html import html_to_markdown
from app.readers.markdown import read_markdown, split_front_matter
from app.readers.pdf import read_pdf
from app.readers.rst import rst_to_html

MARKDOWN = frozenset((".md", ".markdown", ".mdx"))
HTML = frozenset((".html", ".htm", ".xhtml"))
RST = frozenset((".rst",))
PDF = frozenset((".pdf",))
SUFFIXES = MARKDOWN | HTML | RST | PDF
SITEMAP = "sitemap.xml"
# The questions of `evaluate`: part of the folder, but not a page.
QUESTIONS = "questions.toml"
INDEX_NAMES = ("index", "readme")
# Leading numbers order files and are not part of the address, except dates and versions.
# Source: docusaurus.io, "Using number prefixes".
_NUMBERED = re.compile(r"\d+\s*[-_.]+\s*(?=[^-_.\s])")
_DATE_OR_VERSION = re.compile(r"\d{2,4}[-_.]\d{2}|\d+[-_.]\d+")


class Collision(Exception):
    """Two files have the same address; the message names them."""


@dataclass
class Report:
    """`left_out`: file and reason. `kinds`: how many files of other kinds, by suffix."""

    left_out: list[tuple[str, str]] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    hidden: int = 0

    def lines(self) -> Iterator[str]:
        for name, reason in self.left_out:
            yield f"left out: {name}: {reason}"
        if self.kinds:
            kinds = ", ".join(f"{suffix} {count}" for suffix, count in self.kinds.most_common())
            yield f"left out: files of kinds that are not read: {kinds}"
        if self.hidden:
            yield f"left out: files below names that start with . or _: {self.hidden}"


@dataclass
class _File:
    """A file to read: its place in the folder, its address, and the text if it is Markdown."""

    file: Path
    inside: str
    path: str
    front: dict[str, Any] = field(default_factory=dict)
    text: str = ""

    @property
    def suffix(self) -> str:
        return self.file.suffix.lower()


class Folder:
    """The documents below `source`, in a stable order; raises Collision."""

    def __init__(self, source: Path, base_url: str) -> None:
        self.report = Report()
        self._base_url = base_url
        self._files: list[_File] = []
        for file in sorted(source.rglob("*")):
            inside = file.relative_to(source).as_posix()
            if file.is_file() and self._is_read(inside):
                self._add(file, inside)
        for sitemap in (source / SITEMAP, *sorted(source.glob(f"*/{SITEMAP}"))):
            if sitemap.is_file():
                self._follow_sitemap(sitemap.read_bytes())
                break
        self._paths = self._checked_paths()

    def __len__(self) -> int:
        return len(self._files)

    def documents(self) -> Iterator[Document | None]:
        """Each document, or None for a document that was left out."""
        for given in self._files:
            try:
                document = self._read(given)
            except Unreadable as error:
                self.report.left_out.append((given.inside, str(error)))
                yield None
                continue
            except RecursionError:
                self.report.left_out.append((given.inside, "its parts are nested too deeply"))
                yield None
                continue
            if not document.sections:
                self.report.left_out.append((given.inside, "it holds no text"))
            yield document if document.html.strip() else None

    def _is_read(self, inside: str) -> bool:
        path = PurePosixPath(inside)
        if any(part.startswith((".", "_")) for part in path.parts):
            self.report.hidden += 1
            return False
        if path.suffix.lower() not in SUFFIXES:
            if path.name not in (SITEMAP, QUESTIONS):
                self.report.kinds[path.suffix.lower() or "(none)"] += 1
            return False
        return True

    def _add(self, file: Path, inside: str) -> None:
        given = _File(file, inside, page_path(inside))
        if given.suffix in MARKDOWN:
            try:
                given.front, given.text = split_front_matter(_decoded(file.read_bytes()))
            except Unreadable as error:
                self.report.left_out.append((inside, str(error)))
                return
            if given.front.get("draft") is True:
                self.report.left_out.append((inside, "it is a draft"))
                return
            slug = given.front.get("slug")
            if isinstance(slug, str) and slug.strip("/"):
                given.path = posixpath.join("/", posixpath.dirname(given.path), slug).strip("/")
        self._files.append(given)

    def _follow_sitemap(self, sitemap: bytes) -> None:
        """Keeps only the HTML files that the sitemap lists, in its order and at its addresses.

        A mirror may have the host's name as its first folder, or start at a folder of the site.
        Source: sitemaps.org, "XML tag definitions".
        """
        pages = {given.inside: given for given in self._files if given.suffix in HTML}
        found_in = BeautifulSoup(sitemap, "xml").select("url > loc")
        listed = [entry.get_text().strip() for entry in found_in]
        kept: dict[str, _File] = {}
        for location in listed:
            found = next((pages[name] for name in _saved_names(location) if name in pages), None)
            if found is None:
                self.report.left_out.append((location, f"{SITEMAP} lists it, no file is saved"))
                continue
            path = location.removeprefix(self._base_url)
            found.path = unquote(urlsplit(path).path).lstrip("/")
            kept.setdefault(found.inside, found)
        for name in sorted(pages.keys() - kept.keys()):
            self.report.left_out.append((name, f"{SITEMAP} does not list it"))
        others = [given for given in self._files if given.suffix not in HTML]
        self._files = [*kept.values(), *others]

    def _checked_paths(self) -> dict[str, str]:
        """The address of each file, by its place in the folder; raises Collision."""
        owners: dict[str, str] = {}
        for given in self._files:
            other = owners.setdefault(given.path.rstrip("/"), given.inside)
            if other != given.inside:
                raise Collision(
                    f"{other} and {given.inside} would have the same address, "
                    f"{self._base_url}{given.path}; rename or remove one"
                )
        return {given.inside: given.path for given in self._files}

    def _read(self, given: _File) -> Document:
        """Raises Unreadable."""

        def resolve(href: str) -> str | None:
            return self._target(given.inside, href)

        fallback = _name(given.inside)
        if given.suffix in PDF:
            return read_pdf(given.file.read_bytes(), given.path, fallback)
        if given.suffix in MARKDOWN:
            text, front = given.text, given.front
            if isinstance(description := front.get("description"), str):
                text = _with_description(text, description)
            title = str(front.get("title") or "").strip()
            mdx = given.suffix == ".mdx"
            return read_markdown(text, given.path, resolve, title=title, fallback=fallback, mdx=mdx)
        data: bytes | str = given.file.read_bytes()
        if given.suffix in RST:
            data = rst_to_html(_decoded(given.file.read_bytes()), given.inside)
        title, text = html_to_markdown(data)
        if given.suffix in RST:
            # docutils sets the title to the file's name.
            title = ""
        return read_markdown(text, given.path, resolve, fallback=title or fallback)

    def _target(self, inside: str, href: str) -> str | None:
        """The target of a link in the file `inside`; None if it is not a page of this book."""
        try:
            parts = urlsplit(href)
        except ValueError:
            return None
        if parts.scheme or href.startswith(("#", "//")):
            return href if parts.scheme in ("", "http", "https", "mailto") else None
        linked = unquote(parts.path)
        folder = "" if linked.startswith("/") else posixpath.dirname(inside)
        place = posixpath.normpath(posixpath.join(folder, linked.lstrip("/")))
        fragment = f"#{parts.fragment}" if parts.fragment else ""
        for name in _candidates("" if place == "." else place):
            if name in self._paths:
                return page_url(self._base_url, self._paths[name]) + fragment
        if place in self._paths.values():
            return page_url(self._base_url, place) + fragment
        return None


def page_path(inside: str) -> str:
    """The path of the page that a file becomes.

    Markdown loses its suffix and its ordering number, and `index` or `README` is its folder.
    HTML keeps its name, as on the site it comes from, and reStructuredText gets Sphinx's name.
    """
    path = PurePosixPath(inside)
    if path.suffix.lower() in RST:
        return path.with_suffix(".html").as_posix()
    if path.suffix.lower() not in MARKDOWN:
        return inside
    parts = [
        part if _DATE_OR_VERSION.match(part) else _NUMBERED.sub("", part, count=1)
        for part in path.with_suffix("").parts
    ]
    if parts[-1].lower() in INDEX_NAMES:
        parts.pop()
    return "/".join(parts)


def _candidates(place: str) -> Iterator[str]:
    """The files that a link to `place` may refer to, the likeliest first."""
    yield place
    for suffix in sorted(SUFFIXES):
        yield place + suffix
    stem, dot, _ = place.rpartition(".html")
    if dot:
        # Sphinx and MkDocs sources link to the built pages.
        yield from (stem + suffix for suffix in sorted(SUFFIXES))
    for name in ("index", "README"):
        yield from (posixpath.join(place, name + suffix) for suffix in sorted(SUFFIXES))


def _saved_names(location: str) -> Iterator[str]:
    """The paths under which the page at `location` may be saved, the longest first."""
    parts = urlsplit(location)
    steps = [parts.netloc, *unquote(parts.path).strip("/").split("/")]
    for start in range(len(steps)):
        name = "/".join(step for step in steps[start:] if step)
        yield from (name, f"{name}/index.html".lstrip("/"), f"{name}.html")


def _name(inside: str) -> str:
    """The title of a document that has none."""
    path = PurePosixPath(inside)
    stem = path.parent.name if path.stem.lower() in INDEX_NAMES else path.stem
    return stem or "Home"


def _with_description(text: str, description: str) -> str:
    """The text with the front matter's description below its first heading."""
    plain = " ".join(description.split())
    heading = re.match(r"\s*#\s.*\n", text)
    end = heading.end() if heading else 0
    return f"{text[:end]}\n{plain}\n\n{text[end:]}"


def _decoded(data: bytes) -> str:
    """Text whose line ends are line feeds. Bytes that are not UTF-8 are replaced, never fatal."""
    return data.decode("utf-8-sig", errors="replace").replace("\r\n", "\n").replace("\r", "\n")
