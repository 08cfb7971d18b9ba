"""Books of every format must be read, with every cited address served and omissions reported."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject
from starlette.testclient import TestClient

from app.embedded import Chunk, Index
from app.ingest import main
from app.main import create_app
from app.readers.folder import page_path
from app.settings import read_settings

PAGE = """<!doctype html><html><head><title>Site | Pier</title></head><body>
<nav>Menu</nav><main><header><h1>Pier &amp; quay</h1></header>
<p>Moor at <a href="guide/">the guide</a>, not <a href="gone.html">there</a>. Use &lt;b&gt;.</p>
<h2 id="_ropes_x">Ropes<a class="headerlink" href="#x">¶</a></h2>
<div class="highlight-python"><pre><span>tie()</span>
  knot()</pre></div>
<section id="knots"><h3>Knots</h3><p>A <code>bowline</code> holds.</p>
<dl><dt>Bight</dt><dd>A slack part.</dd></dl></section>
</main><footer>Imprint</footer></body></html>"""
RST = """Harbour
=======

.. toctree::

   other

Call :func:`~boat.moor` as :ref:`it says <tides>`.

Tides
-----

.. note:: Mind the gap.

.. code-block:: python
   :linenos:

   moor()

.. versionadded:: 3.2
   The tide table.

.. include:: /etc/passwd
"""
MARKDOWN = """---
title: The guide
description: All about guides.
---
[![badge](x.png)](https://x.example)

# Guide

:::tip[Careful]
Tie it.
:::

!!! warning "Hot"
    It burns.

See [knots](../pier.html#knots), [tides](../harbour.rst#tides), [no](no.md) and `Vec<String>`.

> [!NOTE]
> A note.
"""


def pdf(*pages: str, title: str = "", password: str = "") -> bytes:
    """A PDF with one line of text on each page, and an outline of them."""
    writer = PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    for number, text in enumerate(pages):
        page = writer.add_blank_page(300, 300)
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 10 100 Td ({text}) Tj ET".encode())
        page[NameObject("/Contents")] = writer._add_object(stream)
        page[NameObject("/Resources")] = DictionaryObject(
            {NameObject("/Font"): DictionaryObject({NameObject("/F1"): writer._add_object(font)})}
        )
        writer.add_outline_item(title=f"Chapter {number + 1}", page_number=number)
    if title:
        writer.add_metadata({"/Title": title})
    if password:
        writer.encrypt(password)
    out = BytesIO()
    writer.write(out)
    return out.getvalue()


BOOKS: dict[str, Mapping[str, str | bytes]] = {
    "markdown": {
        "README.md": "![x](x.png)\n\n# Club\n\nWe sail. [More](docs/01-start.md#boat).\n",
        "docs/01-start.md": "# Start\n\nHere.\n\n## The boat\n\nIt floats.\n",
        "docs/über uns/index.mdx": "import A from 'a';\n\n# A\n\n## Größe\n\n<A.B>Segeln</A.B>.\n",
        "docs/2024-01-05-news.md": "# News\n\nA regatta.\n",
    },
    "site": {
        "index.html": "<main><h1>Home</h1><p>Welcome.</p></main>",
        "pier.html": PAGE,
        "guide/index.html": "<body><p>No heading at all.</p></body>",
    },
    "mixed": {
        "harbour.rst": RST,
        "guide/index.md": MARKDOWN,
        "pier.html": PAGE,
        "manual.pdf": pdf("The anchor is heavy.", "The mast is tall.", title="Manual"),
    },
}


def build(folder: Path, files: Mapping[str, str | bytes], *options: str) -> tuple[int, Path]:
    for name, content in files.items():
        path = folder / "book" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    out = folder / "index.sqlite"
    return main(["build", "--source", str(folder / "book"), "--out", str(out), *options]), out


def chunks(folder: Path, files: Mapping[str, str | bytes], *options: str) -> dict[str, Chunk]:
    """The chunks by their path below the book's address; the last one if several share a path."""
    code, out = build(folder, files, *options)
    assert code == 0
    return {chunk.url.removeprefix("/book/"): chunk for chunk in Index(out).chunks()}


@pytest.mark.parametrize("book", BOOKS)
def test_every_cited_address_is_served(book: str, tmp_path: Path) -> None:
    code, out = build(tmp_path, BOOKS[book])
    assert code == 0
    urls = {chunk.url for chunk in Index(out).chunks()}
    assert len(urls) >= 3
    app = create_app(read_settings({"RAG_MODE": "embedded", "INDEX_PATH": str(out)}))
    with TestClient(app) as client:
        contents = client.get("/book").text
        for url in urls:
            page = client.get(url)
            assert page.status_code == 200, url
            anchor = urlsplit(url).fragment
            assert not anchor or f'id="{anchor}"' in page.text, url
            # A wrong path would show the contents.
            assert '<article class="book">' in page.text, url
            assert f'href="{url.partition("#")[0].rstrip("/")}' in contents, url


def test_markdown_keeps_its_text_and_loses_its_extensions(tmp_path: Path) -> None:
    found = chunks(tmp_path, {"guide/index.md": MARKDOWN, "pier.html": PAGE, "harbour.rst": RST})
    assert found["guide"].title == "The guide"
    assert "All about guides." in found["guide"].text
    guide = found["guide#guide"].text
    for kept in ("Careful", "Tie it.", "Hot", "It burns.", "`Vec<String>`", "A note."):
        assert kept in guide
    for gone in (":::", "!!!", "[!NOTE]", "```"):
        assert gone not in guide


def test_html_keeps_its_main_text_and_its_anchors(tmp_path: Path) -> None:
    found = chunks(tmp_path, {"pier.html": PAGE})
    assert set(found) == {"pier.html", "pier.html#_ropes_x", "pier.html#knots"}
    assert {chunk.title for chunk in found.values()} == {"Pier & quay"}
    assert found["pier.html#_ropes_x"].text == "```python\ntie()\n  knot()\n```"
    assert found["pier.html#_ropes_x"].heading == "Ropes"
    assert "Use <b>." in found["pier.html"].text
    assert found["pier.html#knots"].text == "A `bowline` holds.\n\nBight\n\nA slack part."
    for gone in ("Menu", "Imprint", "Site"):
        assert gone not in "".join(chunk.text for chunk in found.values())


def test_xhtml_is_read_without_a_warning(tmp_path: Path) -> None:
    page = f'<?xml version="1.0" encoding="utf-8"?>\n{PAGE}'
    assert "pier.xhtml#knots" in chunks(tmp_path, {"pier.xhtml": page})


def test_restructuredtext_keeps_the_text_of_sphinx(tmp_path: Path) -> None:
    found = chunks(tmp_path, {"harbour.rst": RST})
    assert set(found) == {"harbour.html", "harbour.html#tides"}
    assert found["harbour.html"].text == "Call `moor` as it says."
    tides = found["harbour.html#tides"].text
    for kept in ("Mind the gap.", "```python\nmoor()\n```", "The tide table."):
        assert kept in tides
    assert "root:" not in tides


def test_pdf_is_cited_by_page(tmp_path: Path) -> None:
    contents = "The anchor . . . . . . . . 2"
    manual = pdf("The anchor is heavy.", "The mast is tall.", contents, title="Manual")
    found = chunks(tmp_path, {"manual.pdf": manual})
    assert {url: (c.title, c.heading, c.text) for url, c in found.items()} == {
        "manual.pdf#page=1": ("Manual", "Chapter 1", "The anchor is heavy."),
        "manual.pdf#page=2": ("Manual", "Chapter 2", "The mast is tall."),
    }


def test_links_lead_to_pages_or_nowhere(tmp_path: Path) -> None:
    _, out = build(tmp_path, {"guide/index.md": MARKDOWN, "pier.html": PAGE, "harbour.rst": RST})
    guide, pier = Index(out).page("guide"), Index(out).page("pier.html")
    assert guide and pier
    assert 'href="/book/pier.html#knots"' in guide.html
    assert 'href="/book/harbour.html#tides"' in guide.html
    assert 'href="/book/guide"' in pier.html
    assert "no.md" not in guide.html and "gone.html" not in pier.html


def test_a_script_in_a_book_never_reaches_the_page(tmp_path: Path) -> None:
    hostile = (
        "# X\n\n<script>alert(1)</script>\n\n[a](javascript:alert(1)) <img src=x onerror=alert(1)>"
        " [b](data:text/html,x) [c](http://[x)\n\nText.\n"
    )
    page = "<main><h1>Y</h1><p onclick='x()'>Text. <a href='javascript:x()'>c</a></p></main>"
    _, out = build(tmp_path, {"x.md": hostile, "y.html": page})
    for slug in ("x", "y.html"):
        found = Index(out).page(slug)
        assert found and "Text." in found.html
        for gone in ("<script", "<img", "onerror=", "onclick", 'href="javascript', 'href="data'):
            assert gone not in found.html


def test_a_sitemap_says_which_pages_there_are_and_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    locations = ("https://docs.example/b/", "https://docs.example/a", "https://docs.example/gone")
    sitemap = "".join(f"<url><loc>{location}</loc></url>" for location in locations)
    files = {
        "sitemap.xml": f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{sitemap}</urlset>',
        "docs.example/a.html": "<main><h1>A</h1><p>Text of a.</p></main>",
        "docs.example/b/index.html": "<main><h1>B</h1><p>Text of b.</p></main>",
        "docs.example/404.html": "<main><h1>No</h1><p>No such page.</p></main>",
    }
    found = chunks(tmp_path, files, "--base-url", "https://docs.example/")
    assert list(found) == ["https://docs.example/b/", "https://docs.example/a"]
    said = capsys.readouterr().out
    assert "left out: https://docs.example/gone: sitemap.xml lists it, no file is saved" in said
    assert "left out: docs.example/404.html: sitemap.xml does not list it" in said
    own = chunks(tmp_path, files)
    assert list(own) == ["b/", "a"]


def test_what_is_left_out_is_named_with_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _ = build(
        tmp_path,
        {
            "good.md": "# Good\n\nText.\n",
            "draft.md": "---\ndraft: true\n---\nSecret plans.\n",
            "broken.md": "---\na: [\n---\nText.\n",
            "empty.md": "",
            "broken.pdf": "no PDF",
            "scanned.pdf": pdf(""),
            "deep.html": "<div>" * 5000 + "Text.",
            "locked.pdf": pdf("Text.", password="x"),
            "picture.png": b"\x89PNG",
            "other.png": b"\x89PNG",
            ".hidden/a.md": "Text.",
            "_partial.md": "Text.",
            "questions.toml": "",
        },
    )
    said = capsys.readouterr().out.splitlines()
    assert code == 0
    assert said[:-1] == [
        "left out: broken.md: its front matter is not valid",
        "left out: draft.md: it is a draft",
        "left out: broken.pdf: it is damaged, or not a PDF",
        "left out: deep.html: its parts are nested too deeply",
        "left out: empty.md: it holds no text",
        "left out: locked.pdf: it needs a password",
        "left out: scanned.pdf: it holds no text; scanned pages need OCR first",
        "left out: files of kinds that are not read: .png 2",
        "left out: files below names that start with . or _: 2",
    ]
    assert said[-1].startswith("1 documents, 1 sections, 1 chunks")


@pytest.mark.parametrize(
    "names",
    [("index.md", "README.md"), ("01-intro.md", "02-intro.md"), ("a/index.md", "a.md")],
)
def test_two_files_with_the_same_address_are_refused(
    names: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = build(tmp_path, dict.fromkeys(names, "# X\n\nText.\n"))
    said = capsys.readouterr().err
    assert code == 1 and not out.exists()
    assert all(name in said for name in names) and len(said.splitlines()) == 1


def test_front_matter_may_move_a_page(tmp_path: Path) -> None:
    found = chunks(
        tmp_path,
        {
            "guide/a.md": "---\nslug: start\n---\nText a.\n",
            "guide/b.md": "---\nslug: /top/\n---\nText b.\n",
            "guide/c.md": '+++\ntitle = "Sea"\n+++\nText c.\n',
        },
    )
    assert {url: chunk.title for url, chunk in found.items()} == {
        "guide/start": "a",
        "top": "b",
        "guide/c": "Sea",
    }


@pytest.mark.parametrize(
    ("inside", "path"),
    [
        ("01-intro.md", "intro"),
        ("02_guide/10.first steps.mdx", "guide/first steps"),
        ("2024-01-05-news.md", "2024-01-05-news"),
        ("1.2-notes.md", "1.2-notes"),
        ("README.md", ""),
        ("a/Index.md", "a"),
        ("a/index.html", "a/index.html"),
        ("api/boat.rst", "api/boat.html"),
        ("2.pdf", "2.pdf"),
    ],
)
def test_addresses_of_files(inside: str, path: str) -> None:
    assert page_path(inside) == path


def test_pages_of_one_title_keep_their_sections_apart(tmp_path: Path) -> None:
    text = "# Introduction\n\n## {}\n\nText.\n"
    _, out = build(tmp_path, {"a.md": text.format("First"), "b.md": text.format("Second")})
    app = create_app(read_settings({"RAG_MODE": "embedded", "INDEX_PATH": str(out)}))
    with TestClient(app) as client:
        contents = client.get("/book").text
    assert contents.count("#first") == contents.count("#second") == 1


def test_a_base_url_is_an_address(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build(tmp_path, {"a.md": "Text."}, "--base-url", "docs")[0] == 1
    assert capsys.readouterr().err.startswith("--base-url: docs/ must be an address")


def test_the_same_book_gives_the_same_bytes(tmp_path: Path) -> None:
    outs = [build(tmp_path / name, BOOKS["mixed"])[1].read_bytes() for name in ("one", "two")]
    assert outs[0] == outs[1]


def test_a_folder_without_documents_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "book").mkdir()
    assert build(tmp_path, {"a.png": b"x"})[0] == 1
    report, line = capsys.readouterr().err.splitlines()
    assert report == "left out: files of kinds that are not read: .png 1"
    assert line.startswith("--source: ") and ".pdf" in line
