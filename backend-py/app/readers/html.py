"""Converts HTML to Markdown: the main text of a page, without the navigation of its site."""

import re
import warnings
from typing import Any

from bs4 import BeautifulSoup, Tag, XMLParsedAsHTMLWarning
from markdownify import ATX, MarkdownConverter

SKIPPED = (
    "script, style, template, noscript, svg, form, button, dialog, nav, header, footer, "
    "aside:not(.admonition), .headerlink, [hidden], [aria-hidden=true], [role=navigation], "
    "[role=search]"
)
MAIN = ("main", "[role=main]", "article", "body")
HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
ANCHOR_HOLDERS = ("section", "div", "article", "main")


def html_to_markdown(data: bytes | str) -> tuple[str, str]:
    """The title from the page's head, and its text with `{#id}` at each heading."""
    with warnings.catch_warnings():
        # XHTML on the web is HTML in practice.
        warnings.simplefilter("ignore", XMLParsedAsHTMLWarning)
        soup = BeautifulSoup(data, "lxml")
    title = " ".join(soup.title.get_text().split()) if soup.title else ""
    main = next((found for name in MAIN if (found := soup.select_one(name))), soup)
    for skipped in main.select(SKIPPED):
        # The only h1 of a page is often in a header of its main part.
        if skipped.name == "header" and (h1 := skipped.find("h1")):
            skipped.replace_with(h1)
        else:
            skipped.decompose()
    for literal in main.select("span.literal"):
        # docutils writes inline code like this.
        literal.name = "code"
    # Before the conversion, which handles a heading without its surroundings.
    for heading in main.find_all(HEADINGS):
        if anchor := _anchor(heading):
            heading["id"] = anchor
    return title, _Converter(heading_style=ATX, escape_misc=True).convert_soup(main).strip()


def _anchor(heading: Tag) -> str:
    """The id that the site's links to a heading use."""
    inside = [heading, *heading.find_all(["a", "span"])]
    for tag in inside:
        if given := tag.get("id") or tag.get("name"):
            return str(given)
    before = heading.find_previous_sibling()
    if before and before.name in ("a", "span") and not before.get_text().strip():
        return str(before.get("id") or before.get("name") or "")
    holder = heading.parent
    first = holder and holder.find(HEADINGS) is heading
    return str(holder.get("id") or "") if holder and first and holder.name in ANCHOR_HOLDERS else ""


class _Converter(MarkdownConverter):
    def convert_hN(self, n: int, el: Any, text: str, parent_tags: Any) -> str:
        heading: str = super().convert_hN(n, el, text, parent_tags)  # type: ignore[misc]
        anchor = el.get("id")
        if not anchor or not heading.strip() or "_inline" in parent_tags:
            return heading
        escaped = re.sub(r"([\\`*_\[\]<>&])", r"\\\1", anchor)
        return f"\n\n{heading.strip()} {{#{escaped}}}\n\n"

    # Markdown has no definition lists.
    def convert_dt(self, el: Any, text: str, parent_tags: Any) -> str:
        return text if "_inline" in parent_tags else f"\n\n{text.strip()}\n\n"

    convert_dd = convert_dt

    def convert_pre(self, el: Any, text: str, parent_tags: Any) -> str:
        code = el.get_text().strip("\n")
        if not code.strip():
            return ""
        fence = "```"
        while fence in code:
            fence += "`"
        return f"\n\n{fence}{_language(el)}\n{code.rstrip()}\n{fence}\n\n"


def _language(pre: Tag) -> str:
    """The language in a class: `language-x` by HTML's convention, `highlight-x` by Sphinx's."""
    if given := pre.get("lang"):
        # docutils sets `lang`.
        return str(given)
    for tag in (pre, pre.code, pre.parent, pre.parent and pre.parent.parent):
        for name in (tag.get("class") or ()) if tag else ():
            for prefix in ("language-", "highlight-", "lang-"):
                if name.startswith(prefix):
                    language = name.removeprefix(prefix)
                    return "" if language in ("default", "none", "text") else language
    return ""
