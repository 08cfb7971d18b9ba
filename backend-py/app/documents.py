"""Documents to chunks: Markdown, MDX and HTML, cut at headings, each chunk with a stable URL."""

import hashlib
import re
import unicodedata
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from app.embedded import Chunk

CHUNK_CHARS = 1200
SUFFIXES = {".md", ".mdx", ".markdown", ".html", ".htm"}
SECTION_LEVELS = 3


@dataclass
class Section:
    heading: str
    anchor: str
    blocks: list[str] = field(default_factory=list)


@dataclass
class Document:
    path: str
    title: str
    sections: list[Section]
    html: str


def read_folder(source: Path) -> Iterator[tuple[Path, str]]:
    """Every document under `source` with its path inside it, in a stable order."""
    for path in sorted(source.rglob("*")):
        inside = path.relative_to(source)
        hidden = any(part.startswith((".", "_")) for part in inside.parts)
        if path.suffix.lower() in SUFFIXES and path.is_file() and not hidden:
            yield path, inside.as_posix()


def read_document(path: Path, inside: str, base_url: str) -> Document:
    """The document at `path`. Bytes that are not UTF-8 are replaced, never fatal."""
    text = path.read_bytes().decode("utf-8-sig", errors="replace").replace("\r\n", "\n")
    if path.suffix.lower() in (".html", ".htm"):
        return _read_html(text, inside)
    return _read_markdown(text, inside, base_url, mdx=path.suffix.lower() == ".mdx")


def to_chunks(document: Document, base_url: str) -> Iterator[Chunk]:
    """Chunks of at most CHUNK_CHARS characters; a code block is kept whole whatever its size."""
    page = base_url + document.path
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


class Slugs:
    """Heading slugs as GitHub, Docusaurus and MkDocs make them, unique within a page."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def take(self, slug: str) -> str:
        """A slug that the author has chosen."""
        self._seen.setdefault(slug, 1)
        return slug

    def of(self, heading: str) -> str:
        slug = unicodedata.normalize("NFC", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", slug).replace(" ", "-") or "section"
        count = self._seen.get(slug, 0)
        self._seen[slug] = count + 1
        return f"{slug}-{count}" if count else slug


def page_path(inside: str) -> str:
    """The URL path of a Markdown file: no suffix, no ordering number, `index` is its folder."""
    parts = [re.sub(r"^\d+[-_.]+", "", part) for part in Path(inside).with_suffix("").parts]
    if parts[-1].lower() in ("index", "readme"):
        parts.pop()
    return "/".join(parts)


_MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
_FRONT_MATTER = re.compile(r"\A---\n(.*?\n)?---\s*(\n|\Z)", re.DOTALL)
_FENCE = re.compile(r"^\s*(```|~~~)")
_CUSTOM_ID = re.compile(r"\s*\{#([\w-]+)\}\s*$")
_TAG = re.compile(r"<!--.*?-->|\{/\*.*?\*/\}|</?[A-Za-z][^<>]*>", re.DOTALL)


def _without_mdx_code(text: str) -> str:
    kept, fenced, statement = [], False, False
    for line in text.split("\n"):
        if _FENCE.match(line):
            fenced = not fenced
        if not fenced and re.match(r"(import|export)\s", line):
            statement = True
        if not statement:
            kept.append(line)
        elif not line.strip() or line.rstrip().endswith((";", "'", '"')):
            statement = False
    return "\n".join(kept)


def _read_markdown(text: str, inside: str, base_url: str, *, mdx: bool) -> Document:
    title = ""
    if front := _FRONT_MATTER.match(text):
        text = text[front.end() :]
        if found := re.search(r"^title:\s*(.+)$", front[1] or "", re.MULTILINE):
            title = found[1].strip().strip("'\"")
    if mdx:
        text = _without_mdx_code(text)
    tokens = _MARKDOWN.parse(text)
    slugs = Slugs()
    sections = [Section("", "")]
    bullets: list[int | None] = []
    item_starts = False
    row: list[str] = []
    for position, token in enumerate(tokens):
        blocks = sections[-1].blocks
        if token.type == "heading_open":
            level, inline = int(token.tag[1]), tokens[position + 1]
            heading = _inline_text(inline)
            custom = _CUSTOM_ID.search(heading)
            if custom and inline.children:
                heading = heading[: custom.start()]
                inline.children[-1].content = _CUSTOM_ID.sub("", inline.children[-1].content)
            anchor = slugs.take(custom[1]) if custom else slugs.of(heading)
            token.attrSet("id", anchor)
            if level == 1 and not any(s.heading or s.blocks for s in sections):
                title = title or heading
                sections[-1].heading = heading
            elif level <= SECTION_LEVELS:
                sections.append(Section(heading, anchor))
            else:
                blocks.append(heading)
        elif token.type == "bullet_list_open":
            bullets.append(None)
        elif token.type == "ordered_list_open":
            bullets.append(int(token.attrGet("start") or 1))
        elif token.type in ("bullet_list_close", "ordered_list_close"):
            bullets.pop()
        elif token.type == "list_item_open":
            item_starts = True
        elif token.type == "tr_open":
            row = []
        elif token.type == "tr_close":
            _append_line(blocks, " | ".join(row), "| ")
        elif token.type in ("fence", "code_block"):
            blocks.append(f"```{token.info.strip()}\n{token.content.rstrip()}\n```")
        elif token.type == "html_block":
            if plain := " ".join(_TAG.sub(" ", token.content).split()):
                blocks.append(plain)
        elif token.type == "inline":
            before = tokens[position - 1].type
            if before == "heading_open":
                continue
            content = _inline_text(token)
            if before in ("td_open", "th_open"):
                row.append(content)
            elif bullets and item_starts:
                number = bullets[-1]
                bullets[-1] = number if number is None else number + 1
                mark = "- " if number is None else f"{number}. "
                _append_line(blocks, "  " * (len(bullets) - 1) + mark + content, "")
                item_starts = False
            elif content and not content.startswith(":::"):
                blocks.append(content)
    title = title or Path(inside).stem
    path = page_path(inside)
    html = _to_html(tokens, base_url)
    return Document(path, title, [s for s in sections if s.blocks], html)


_LIST_LINE = re.compile(r"\s*(- |\d+\. |\| )")


def _append_line(blocks: list[str], line: str, prefix: str) -> None:
    """Lines of one list or table share a block, as far as its size allows."""
    line = prefix + line
    if blocks and _LIST_LINE.match(blocks[-1]) and len(blocks[-1]) + len(line) < CHUNK_CHARS:
        blocks[-1] += "\n" + line
    else:
        blocks.append(line)


def _inline_text(inline: Token) -> str:
    out = []
    for child in inline.children or []:
        if child.type == "text":
            out.append(child.content)
        elif child.type == "code_inline":
            out.append(f"`{child.content}`")
        elif child.type in ("softbreak", "hardbreak"):
            out.append(" ")
        elif child.type == "image":
            out.append(child.content)
    return _TAG.sub("", "".join(out)).strip()


def _to_html(tokens: list[Token], base_url: str) -> str:
    """The page's HTML; raw HTML in the source is left out, links to .md files point to pages."""
    kept = [token for token in tokens if token.type != "html_block"]
    for token in kept:
        if token.type != "inline":
            continue
        token.children = [c for c in token.children or [] if c.type != "html_inline"]
        for child in token.children:
            href = str(child.attrGet("href") or "")
            if child.type == "link_open" and (link := re.match(r"([\w./-]+)\.mdx?(#.*)?$", href)):
                child.attrSet("href", base_url + page_path(link[1] + ".md") + (link[2] or ""))
    return str(_MARKDOWN.renderer.render(kept, _MARKDOWN.options, {}))


class _HTMLSections(HTMLParser):
    """Headings, paragraphs, lists, tables and code of an HTML page, without its navigation."""

    SKIPPED = frozenset(("script", "style", "nav", "header", "footer", "aside", "noscript", "svg"))
    BLOCKS = frozenset(("p", "li", "dt", "dd", "tr", "div", "section", "article", "blockquote"))
    VOID = frozenset(("br", "hr", "img", "input", "link", "meta", "wbr", "col", "source"))

    def __init__(self, *, main_only: bool) -> None:
        super().__init__(convert_charrefs=True)
        self.title = ""
        self.sections = [Section("", "")]
        self._main_only = main_only
        self._stack: list[tuple[str, str]] = []
        self._text = ""
        self._anchor = ""
        self._mark = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in self.VOID:
            self._text += "\n" if tag == "br" and self._inside("pre") else " "
            return
        role = ""
        if tag in self.SKIPPED or "headerlink" in given.get("class", ""):
            role = "skip"
        elif tag == "main" or given.get("role") == "main":
            role = "main"
        if tag in self.BLOCKS or tag == "pre" or re.fullmatch("h[1-6]", tag):
            self._flush()
        if tag in ("section", "div", "span", "a") or re.fullmatch("h[1-6]", tag):
            self._anchor = given.get("id") or given.get("name") or self._anchor
        if tag == "li":
            self._mark = "- "
        if tag in ("td", "th") and self._text.strip():
            self._text += " | "
        self._stack.append((tag, role))

    def handle_endtag(self, tag: str) -> None:
        if not self._inside(tag):
            return
        if tag == "title":
            self.title, self._text = " ".join(self._text.split()), ""
        elif level := re.fullmatch("h([1-6])", tag):
            heading, self._text = " ".join(self._text.split()), ""
            if self._wanted() and heading:
                if int(level[1]) <= SECTION_LEVELS:
                    self.sections.append(Section(heading, self._anchor))
                else:
                    self.sections[-1].blocks.append(heading)
        elif tag == "pre":
            code, self._text = self._text.strip("\n"), ""
            if self._wanted() and code.strip():
                self.sections[-1].blocks.append(f"```\n{code.rstrip()}\n```")
        elif tag in self.BLOCKS:
            self._flush()
        while self._stack and self._stack.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._inside("title") or self._wanted():
            self._text += data

    def close(self) -> None:
        super().close()
        self._flush()

    def _inside(self, tag: str) -> bool:
        return any(open_tag == tag for open_tag, _ in self._stack)

    def _wanted(self) -> bool:
        roles = [role for _, role in self._stack]
        return "skip" not in roles and ("main" in roles or not self._main_only)

    def _flush(self) -> None:
        text, self._text = " ".join(self._text.split()), ""
        mark, self._mark = self._mark, ""
        if text and self._wanted():
            if mark:
                _append_line(self.sections[-1].blocks, text, mark)
            else:
                self.sections[-1].blocks.append(text)


def _read_html(text: str, inside: str) -> Document:
    main_only = bool(re.search(r"<main[\s>]|role=[\"']?main", text))
    parser = _HTMLSections(main_only=main_only)
    parser.feed(text)
    parser.close()
    sections = [s for s in parser.sections if s.blocks]
    first = next((s.heading for s in sections if s.heading), "")
    title = first or parser.title or Path(inside).stem
    return Document(inside, title, sections, "")
