"""`python -m app.ingest`: a folder of documents to an index, or to a Qdrant collection."""

import argparse
import sys
import tomllib
from pathlib import Path

from app.documents import read_document, read_folder, to_chunks
from app.embedded import Chunk, Page, write_index
from app.settings import PACKAGED_INDEX

BUILT_IN = Path(__file__).parent.parent / "book"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m app.ingest", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="write the index file from a folder")
    build.add_argument("--source", type=Path, default=BUILT_IN, help="Markdown, MDX or HTML")
    build.add_argument(
        "--base-url",
        default="/book/",
        help="where the pages are served; a path means: by this Space itself (default /book/)",
    )
    build.add_argument("--out", type=Path, default=PACKAGED_INDEX)
    given = parser.parse_args(arguments)
    return _build(given.source, given.base_url, given.out)


def _build(source: Path, base_url: str, out: Path) -> int:
    if not source.is_dir():
        sys.stderr.write(f"--source: {source} is not a folder\n")
        return 2
    base_url = base_url.rstrip("/") + "/"
    chunks: list[Chunk] = []
    pages: list[Page] = []
    documents = 0
    for path, inside in read_folder(source):
        document = read_document(path, inside, base_url)
        documents += 1
        chunks += to_chunks(document, base_url)
        if base_url.startswith("/"):
            pages.append(Page(document.path, document.title, document.html))
    if not chunks:
        sys.stderr.write(f"--source: {source} holds no text in .md, .mdx or .html files\n")
        return 1
    synonyms = source / "synonyms.toml"
    groups = tomllib.loads(synonyms.read_text())["groups"] if synonyms.is_file() else []
    write_index(out, chunks, pages, groups)
    sections = len({chunk.url for chunk in chunks})
    print(f"{documents} documents, {sections} sections, {len(chunks)} chunks -> {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
