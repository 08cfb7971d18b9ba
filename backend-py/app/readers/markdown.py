"""Reads Markdown and MDX, and the Markdown that other readers produce."""

import html
import re
import tomllib
import unicodedata
from collections.abc import Callable
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from app.documents import CHUNK_CHARS, Document, Section, Unreadable

SECTION_LEVELS = 3
# The address that a link of a page leads to, or None if it is not served.
Resolve = Callable[[str], str | None]

_MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
_FRONT_MATTER = re.compile(
    r"\A(---|\+\+\+)[ \t]*\n(.*?)^\1[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE
)
_FENCE = re.compile(r"\s*(```+|~~~+)")
_CUSTOM_ID = re.compile(r"\s*\{:?\s*#([^\s}]+)[^}]*\}\s*$")
_TAG = re.compile(r"<!--.*?-->|\{/\*.*?\*/\}|</?[A-Za-z][^<>]*>", re.DOTALL)
# Boxes and tabs: of MkDocs, with indented text, and of Docusaurus.
_BOX = re.compile(r'(?:(?:!!!|\?\?\?\+?)\s+[\w -]+?|===)(?:\s+"([^"]*)")?\s*$')
_CONTAINER = re.compile(r"\s*:::+\s*(?:[\w-]+)?\s*(?:\[([^\]]*)\]|([^\[{]*))")
_ALERT = re.compile(r"(\s*>\s*)\[!\w+\]\s*$")
_LIST_LINE = re.compile(r"\s*(- |\d+\. |\| )")


class Slugs:
    """Heading slugs as GitHub, Docusaurus and MkDocs make them, unique within a page."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def take(self, slug: str) -> str:
        """Reserves a slug that the author has chosen."""
        self._seen.setdefault(slug, 1)
        return slug

    def of(self, heading: str) -> str:
        slug = unicodedata.normalize("NFC", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", slug).replace(" ", "-") or "section"
        count = self._seen.get(slug, 0)
        self._seen[slug] = count + 1
        return f"{slug}-{count}" if count else slug


def split_front_matter(text: str) -> tuple[dict[str, Any], str]:
    """The front matter, empty if absent, and the text after it.

    Raises Unreadable if it is neither valid YAML nor TOML.
    """
    found = _FRONT_MATTER.match(text)
    if not found:
        return {}, text
    try:
        toml = found[1] == "+++"
        fields = tomllib.loads(found[2]) if toml else YAML(typ="safe", pure=True).load(found[2])
    except (YAMLError, tomllib.TOMLDecodeError):
        raise Unreadable("its front matter is not valid") from None
    return fields if isinstance(fields, dict) else {}, text[found.end() :]


def read_markdown(
    text: str, path: str, resolve: Resolve, *, title: str = "", fallback: str, mdx: bool = False
) -> Document:
    """The document in `text`. Its title is `title`, or its first h1, or `fallback`."""
    tokens = _MARKDOWN.parse(_without_extensions(text, mdx=mdx))
    sections = _Sections(tokens, mdx=mdx)
    title = title or sections.first_h1 or fallback
    return Document(path, title, [s for s in sections.found if s.blocks], _to_html(tokens, resolve))


def _without_extensions(text: str, *, mdx: bool) -> str:
    """The text without extensions of CommonMark: boxes lose their frame and keep their text."""
    kept: list[str] = []
    fence, depth, statement = "", 0, False
    for line in text.split("\n"):
        while depth and line.strip() and not line.startswith("    " * depth):
            depth -= 1
        line = line[4 * depth :]
        if found := _FENCE.match(line):
            if not fence:
                fence = found[1]
            elif found[1].startswith(fence):
                fence = ""
        elif not fence:
            if mdx and re.match(r"(import|export)\s", line):
                statement = True
            if statement:
                statement = bool(line.strip()) and not line.rstrip().endswith((";", "'", '"'))
                continue
            if found := _BOX.match(line) if line.strip() != "===" else None:
                depth += 1
                line = f"\n{found[1] or ''}\n"
            elif found := _CONTAINER.match(line):
                line = f"\n{(found[1] or found[2] or '').strip()}\n"
            elif found := _ALERT.match(line):
                line = found[1].rstrip()
        kept.append(line)
    return "\n".join(kept)


class _Sections:
    """The sections of a page. Sets the `id` of each heading's token to its anchor."""

    def __init__(self, tokens: list[Token], *, mdx: bool) -> None:
        self.found = [Section("", "")]
        self.first_h1 = ""
        self._mdx = mdx
        self._slugs = Slugs()
        bullets: list[int | None] = []
        item_starts = False
        row: list[str] = []
        for position, token in enumerate(tokens):
            blocks = self.found[-1].blocks
            if token.type == "heading_open":
                self._add_heading(token, tokens[position + 1])
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
                if any(row):
                    _append_line(blocks, " | ".join(row), "| ")
            elif token.type in ("fence", "code_block"):
                blocks.append(f"```{token.info.strip()}\n{token.content.rstrip()}\n```")
            elif token.type == "html_block":
                if plain := " ".join(html.unescape(_TAG.sub(" ", token.content)).split()):
                    blocks.append(plain)
            elif token.type == "inline":
                before = tokens[position - 1].type
                if before == "heading_open":
                    continue
                content = self._inline_text(token)
                if before in ("td_open", "th_open"):
                    row.append(content)
                elif bullets and item_starts:
                    number = bullets[-1]
                    bullets[-1] = number if number is None else number + 1
                    mark = "- " if number is None else f"{number}. "
                    _append_line(blocks, "  " * (len(bullets) - 1) + mark + content, "")
                    item_starts = False
                elif content:
                    blocks.append(content)

    def _add_heading(self, token: Token, inline: Token) -> None:
        level, heading = int(token.tag[1]), self._inline_text(inline)
        custom = _CUSTOM_ID.search(heading)
        if custom and inline.children:
            heading = heading[: custom.start()]
            inline.children[-1].content = _CUSTOM_ID.sub("", inline.children[-1].content)
        anchor = self._slugs.take(custom[1]) if custom else self._slugs.of(heading)
        token.attrSet("id", anchor)
        if level == 1 and not self.first_h1:
            self.first_h1 = heading
            if not any(s.heading or s.blocks for s in self.found):
                # The first h1 is the page itself: its address needs no anchor.
                self.found[-1].heading = heading
                return
        if level <= SECTION_LEVELS:
            self.found.append(Section(heading, anchor))
        else:
            self.found[-1].blocks.append(heading)

    def _inline_text(self, inline: Token) -> str:
        out = []
        for child in inline.children or []:
            if child.type == "text":
                # CommonMark treats some tags and all comments of MDX as text.
                out.append(_TAG.sub("", child.content) if self._mdx else child.content)
            elif child.type == "code_inline":
                out.append(f"`{child.content}`")
            elif child.type in ("softbreak", "hardbreak"):
                out.append(" ")
            elif child.type == "image":
                out.append(child.content)
        return "".join(out).strip()


def _append_line(blocks: list[str], line: str, prefix: str) -> None:
    """Appends a line; lines of one list or table share a block up to CHUNK_CHARS."""
    line = prefix + line
    if blocks and _LIST_LINE.match(blocks[-1]) and len(blocks[-1]) + len(line) < CHUNK_CHARS:
        blocks[-1] += "\n" + line
    else:
        blocks.append(line)


def _to_html(tokens: list[Token], resolve: Resolve) -> str:
    """The page's HTML, without raw HTML, images and broken links."""
    kept = [token for token in tokens if token.type != "html_block"]
    for token in kept:
        if token.type == "inline":
            token.children = _safe(token.children or [], resolve)
    return str(_MARKDOWN.renderer.render(kept, _MARKDOWN.options, {}))


def _safe(children: list[Token], resolve: Resolve) -> list[Token]:
    out = []
    links: list[bool] = []
    for child in children:
        if child.type == "html_inline":
            continue
        if child.type == "image":
            child = Token("text", "", 0, content=child.content)
        elif child.type == "link_open":
            target = resolve(str(child.attrGet("href") or ""))
            links.append(target is not None)
            if target is None:
                continue
            child.attrSet("href", target)
        elif child.type == "link_close" and not links.pop():
            continue
        out.append(child)
    return out
