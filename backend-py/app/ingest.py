"""`python -m app.ingest`: builds an index file from a folder, pushes it to Qdrant, measures it."""

import argparse
import asyncio
import contextlib
import hashlib
import sqlite3
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from app.cohere import EMBED_BATCH, Cohere
from app.documents import to_chunks
from app.embedded import Chunk, Encode, Index, Page, write_index
from app.encoder import PACKAGED_MODEL, Encoder, packaged
from app.evaluate import evaluate
from app.qdrant import Collection, Qdrant
from app.settings import PACKAGED_INDEX, Settings, load_settings
from app.upstream import UpstreamError

BUILT_IN = Path(__file__).parent.parent / "book"
# The path where this Space serves the pages.
OWN_PAGES = "/book/"
MOST_WAITS = 10
LONGEST_WAIT = 60.0
DELETE_BATCH = 1000
REPORT = "report.txt"
PROGRESS_SECONDS = 5.0
Item = TypeVar("Item")


class Failed(Exception):
    """Ends the command with code 1 and this one line."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m app.ingest", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="write the index file from a folder")
    build.add_argument(
        "--source",
        type=Path,
        default=BUILT_IN,
        help="folder of Markdown, HTML, reStructuredText and PDF",
    )
    build.add_argument(
        "--base-url",
        default=OWN_PAGES,
        help="address of the pages; by default this Space serves them",
    )
    build.add_argument(
        "--vectors", type=Path, help="file that keeps vectors from one build to the next"
    )
    build.add_argument("--out", type=Path, default=PACKAGED_INDEX)
    push = commands.add_parser("push", help="update the collection to the state of the index file")
    push.add_argument(
        "--dry-run", action="store_true", help="print the changes without making them"
    )
    commands.add_parser("check", help="check that the collection fits the model and the index file")
    measure = commands.add_parser("evaluate", help="measure the index with a file of questions")
    measure.add_argument("questions", help="TOML file, or - for stdin")
    measure.add_argument("--index", type=Path, default=PACKAGED_INDEX)
    given = parser.parse_args(arguments)
    try:
        if given.command == "build":
            _build(given.source, given.base_url, given.vectors, given.out)
        elif given.command == "evaluate":
            _evaluate(given.questions, given.index)
        elif given.command == "push":
            asyncio.run(_push(_cloud_settings(), dry_run=given.dry_run))
        else:
            asyncio.run(_check(_cloud_settings()))
    except (Failed, UpstreamError) as failure:
        message = failure.message if isinstance(failure, UpstreamError) else failure
        sys.stderr.write(f"{message}\n")
        return 1
    return 0


def _build(source: Path, base_url: str, vectors: Path | None, out: Path) -> None:
    try:
        from app.readers.folder import SUFFIXES, Collision, Folder
    except ModuleNotFoundError as error:
        raise Failed(
            f"build: {error.name} is missing; only the image's build stage has the readers: "
            "docker build --target build ."
        ) from None
    if not source.is_dir():
        raise Failed(f"--source: {source} is not a folder")
    base_url = base_url.rstrip("/") + "/"
    if base_url != OWN_PAGES and not base_url.startswith(("http://", "https://")):
        raise Failed(f"--base-url: {base_url} must be an address such as https://docs.example/")
    chunks: list[Chunk] = []
    pages: list[Page] = []
    try:
        folder = Folder(source, base_url)
    except Collision as collision:
        raise Failed(f"--source: {collision}") from None
    for document in _progress("reading", folder.documents(), len(folder)):
        if document is None:
            continue
        chunks += to_chunks(document, base_url)
        if base_url == OWN_PAGES:
            pages.append(Page(document.path.rstrip("/"), document.title, document.html))
    report = list(folder.report.lines())
    if not chunks:
        sys.stderr.write("".join(f"{line}\n" for line in report))
        raise Failed(f"--source: {source} holds no text in {', '.join(sorted(SUFFIXES))} files")
    try:
        encoder = packaged()
    except OSError as error:
        raise Failed(f"build: {error}") from None
    with _remembering(encoder, vectors) as encode:
        write_index(
            out, chunks, pages, encode, lambda items: _progress("indexing", items, len(chunks))
        )
    sections = len({chunk.url for chunk in chunks})
    documents = len({chunk.doc for chunk in chunks})
    report.append(f"{documents} documents, {sections} sections, {len(chunks)} chunks -> {out}")
    # A file beside the index, because the output of an image's build is easily lost.
    out.with_name(REPORT).write_text("".join(f"{line}\n" for line in report))
    print(*report, sep="\n")


@contextlib.contextmanager
def _remembering(encoder: Encoder, path: Path | None) -> Iterator[Encode]:
    """Encodes each text once; with a path, once for all builds. Encoding takes most of a build."""
    path = path or Path(":memory:")
    model = hashlib.sha256(PACKAGED_MODEL.read_bytes()).digest()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE IF NOT EXISTS vector(text BLOB PRIMARY KEY, vector BLOB)")

        def encode(text: str) -> bytes:
            key = hashlib.sha256(model + text.encode("utf-8", "replace")).digest()
            if row := db.execute("SELECT vector FROM vector WHERE text=?", (key,)).fetchone():
                return bytes(row[0])
            vector = encoder.encode(text)
            with db:
                # Two builds at once share the cache.
                db.execute("INSERT OR IGNORE INTO vector VALUES(?,?)", (key, vector))
            return vector

        yield encode


def _evaluate(questions: str, index: Path) -> None:
    if not index.is_file():
        raise Failed(f"--index: {index} is not a file; write it with: python -m app.ingest build")
    try:
        text = sys.stdin.read() if questions == "-" else Path(questions).read_text()
        print(*asyncio.run(evaluate(text, index)), sep="\n")
    except (OSError, ValueError) as error:
        raise Failed(f"{questions}: {error}") from None


async def _push(settings: Settings, *, dry_run: bool) -> None:
    chunks = {chunk.id: chunk for chunk in Index(settings.index_path).chunks()}
    async with Cohere(settings) as cohere, Qdrant(settings) as qdrant:
        collection = await qdrant.collection()
        present = {point async for point in qdrant.ids()} if collection else set()
        missing = [chunk for chunk in chunks.values() if chunk.id not in present]
        stale = sorted(present - chunks.keys())
        print(f"{len(chunks)} chunks: {len(missing)} to embed, {len(stale)} stale to delete")
        if dry_run:
            return
        if collection:
            await _index_keywords(qdrant)
        batches = [missing[i : i + EMBED_BATCH] for i in range(0, len(missing), EMBED_BATCH)]
        for batch in _progress("pushing", batches, len(batches)):
            vectors = await _embed(cohere, batch)
            if collection is None:
                await qdrant.create(len(vectors[0]))
                await _index_keywords(qdrant)
                collection = Collection({"": len(vectors[0])}, 0)
            name = collection.named(len(vectors[0]))
            if name is None:
                raise Failed(_mismatch(settings, collection, len(vectors[0])))
            await qdrant.upsert(
                [_point(c, {name: v} if name else v) for c, v in zip(batch, vectors, strict=True)]
            )
        for start in range(0, len(stale), DELETE_BATCH):
            await qdrant.delete(stale[start : start + DELETE_BATCH])
        print(f"{settings.collection_name}: {len(chunks)} chunks, nothing stale")


async def _index_keywords(qdrant: Qdrant) -> None:
    # Qdrant Cloud refuses to filter or delete by a field without an index ("strict mode").
    for name in ("doc", "hash"):
        await qdrant.create_keyword_index(name)


async def _embed(cohere: Cohere, batch: list[Chunk]) -> list[list[float]]:
    """Vectors of a batch. Waits as long as the rate limit says, which a trial key often reaches."""
    texts = [f"{chunk.name}\n{chunk.text}" for chunk in batch]
    for _ in range(MOST_WAITS):
        try:
            return await cohere.embed(texts, documents=True)
        except UpstreamError as error:
            if error.code != "upstream_rate_limited":
                raise
            await asyncio.sleep(min(error.retry_after or 1, LONGEST_WAIT))
    raise Failed("Cohere's rate limit did not clear; run the same command again to continue.")


async def _check(settings: Settings) -> None:
    chunks = Index(settings.index_path).chunks()
    async with Cohere(settings) as cohere, Qdrant(settings) as qdrant:
        collection = await qdrant.collection()
        if collection is None:
            raise Failed(f"COLLECTION_NAME: {settings.collection_name} is absent; run push first")
        print(f"{settings.collection_name}: {collection.points} points")
        (vector,) = await cohere.embed([chunks[0].name], documents=False)
        if collection.named(len(vector)) is None:
            raise Failed(_mismatch(settings, collection, len(vector)))
        present = {point async for point in qdrant.ids()}
        missing = sum(chunk.id not in present for chunk in chunks)
        stale = len(present - {chunk.id for chunk in chunks})
        found = await qdrant.search(vector, 3)
        for point in found:
            print(f"  {point.score:.3f} {point.title} {point.url}")
        if missing or stale or not found:
            raise Failed(f"{missing} chunks missing, {stale} stale; run push")
        print(f"vectors of {len(vector)} fit {settings.embed_model}; nothing missing or stale")


def _cloud_settings() -> Settings:
    settings = load_settings()
    if settings.embedded:
        raise Failed("RAG_MODE: must be cloud for this command, with the keys of cloud mode")
    return settings


def _mismatch(settings: Settings, collection: Collection, size: int) -> str:
    sizes = ", ".join(str(length) for length in collection.vectors.values())
    return (
        f"EMBED_MODEL: {settings.embed_model} makes vectors of {size}, the collection "
        f"{settings.collection_name} holds {sizes}; "
        "set the EMBED_MODEL of the collection or another COLLECTION_NAME"
    )


def _point(chunk: Chunk, vector: list[float] | dict[str, list[float]]) -> dict[str, object]:
    payload = {
        "text": chunk.text,
        "title": chunk.name,
        "heading": chunk.heading,
        "url": chunk.url,
        "doc": chunk.doc,
        "hash": chunk.hash,
    }
    return {"id": chunk.id, "vector": vector, "payload": payload}


def _progress(what: str, items: Iterable[Item], total: int) -> Iterator[Item]:
    """The items. Shows a bar on stderr if that is a terminal, else a line every few seconds."""
    terminal = sys.stderr.isatty()
    shown = time.monotonic()
    for number, item in enumerate(items, 1):
        yield item
        if terminal:
            bar = "#" * (30 * number // total)
            sys.stderr.write(f"\r{what} [{bar:<30}] {number}/{total}")
        elif time.monotonic() - shown > PROGRESS_SECONDS:
            shown = time.monotonic()
            sys.stderr.write(f"{what} {number}/{total}\n")
    if terminal and total:
        sys.stderr.write("\n")


if __name__ == "__main__":
    sys.exit(main())
