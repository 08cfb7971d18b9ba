"""Search without keys or network: one read-only SQLite file with the book, its words and vectors.

A search combines the words that a section shares with the question (BM25, SQLite's FTS5) and the
nearness of its vectors to the question's. Neither is tuned to a book.
"""

import asyncio
import difflib
import math
import re
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import simsimd

from app.encoder import DIMENSIONS, Encoder
from app.words import Language, language_of, words

# Chosen only on tests/backend_py/questions/tuning.toml. A score is the probability that the section
# answers the question. Below REFUSE there is no answer; below CERTAIN the answer says it is unsure.
REFUSE = 0.18
CERTAIN = 0.60
# The score is a logistic regression on four values: nearness; the share of the question's words
# that the section holds; their number, because a section holds few words easily by chance; and the
# chunks of the book, because among many the nearest is nearer by chance.
NEAR_SLOPE, COVERED_SLOPE, WORD_SLOPE, CHUNK_SLOPE, CONSTANT = 10.7, 3.3, 0.21, -1.17, -1.05
MOST_COUNTED_WORDS = 12
COUNTED_CHUNKS = 12, 200
# Weights of the best passage and the heading in a section's nearness, beside its whole text with 1.
PASSAGE_SHARE, HEADING_SHARE = 1.0, 0.3
WORDS_SHARE = 0.1
HEADING_WEIGHT = 2.0
# A further section is quoted if its rank score is within this distance of the best.
ALSO_QUOTED = 0.02
MOST_QUOTED_CHARS = 1500
SHORTEST_PASSAGE = 30
MOST_TERMS = 64
# The most words that are checked for typing errors; a repair takes up to two milliseconds.
MOST_REPAIRED = 32
_REPAIRABLE = re.compile(r"(?<![^\W\d_])[^\W\d_]{4,24}(?![^\W\d_])")
# The most questions whose vectors are cached: questions repeat.
MOST_KEPT = 1024
Encode = Callable[[str], bytes]
COLUMNS = "uid, doc, url, title, heading, text, hash"

_SCHEMA = """
CREATE TABLE chunk(
  id INTEGER PRIMARY KEY, uid TEXT, doc TEXT, url TEXT, title TEXT, heading TEXT, text TEXT,
  hash TEXT);
CREATE VIRTUAL TABLE fts USING fts5(heading, text, content='', tokenize='unicode61');
CREATE VIRTUAL TABLE term USING fts5vocab(fts, row);
CREATE TABLE page(slug TEXT PRIMARY KEY, position INTEGER, title TEXT, html TEXT);
CREATE TABLE word(word TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE vector(chunk INTEGER, start INTEGER, end INTEGER, vector BLOB);
CREATE TABLE book(language TEXT);
"""
# `start` of vectors that do not belong to a passage.
_WHOLE, _HEADING = -1, -2


@dataclass(frozen=True)
class Chunk:
    """A part of one section. `doc` is its page, `hash` the digest of the searched text."""

    id: str
    doc: str
    url: str
    title: str
    heading: str
    text: str
    hash: str

    @property
    def name(self) -> str:
        """Page and heading: the title of a source."""
        different = self.heading and self.heading != self.title
        return f"{self.title} > {self.heading}" if different else self.title


@dataclass(frozen=True)
class Page:
    """A page of the book that this Space serves."""

    slug: str
    title: str
    html: str


@dataclass(frozen=True)
class Hit:
    """A section found. `score`: probability that it answers, 0 to 1; `quoted`: to be quoted."""

    chunk: Chunk
    score: float
    passage: str
    quoted: bool


def write_index(
    path: Path,
    chunks: Sequence[Chunk],
    pages: Iterable[Page],
    encode: Encode | None,
    progress: Callable[[Iterable[Chunk]], Iterable[Chunk]] = iter,
) -> int:
    """Writes the index and returns the number of chunks. The same input gives the same bytes.

    A book in another language than English gets no vectors: the encoder reads only English.
    """
    language = Language(language_of(chunk.text for chunk in chunks))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    with sqlite3.connect(part) as db:
        db.executescript(_SCHEMA)
        db.execute("INSERT INTO book VALUES(?)", (language.name,))
        known: set[str] = set()
        for number, c in enumerate(progress(chunks), 1):
            db.execute(
                "INSERT INTO chunk VALUES(?,?,?,?,?,?,?,?)",
                (number, c.id, c.doc, c.url, c.title, c.heading, c.text, c.hash),
            )
            db.execute(
                "INSERT INTO fts(rowid, heading, text) VALUES(?,?,?)",
                (number, _joined(language, c.name), _joined(language, c.text)),
            )
            known.update(words(f"{c.title} {c.heading} {c.text}"))
            if encode and language.name == "english":
                db.executemany("INSERT INTO vector VALUES(?,?,?,?)", _vectors(number, c, encode))
        db.execute("INSERT INTO fts(fts) VALUES('optimize')")
        for position, page in enumerate(pages):
            db.execute(
                "INSERT INTO page VALUES(?,?,?,?)", (page.slug, position, page.title, page.html)
            )
        db.executemany(
            "INSERT INTO word VALUES(?)",
            [(w,) for w in sorted(known) if w.isalpha() and len(w) > 3],
        )
    db.execute("VACUUM")
    db.close()
    part.replace(path)
    return len(chunks)


def _joined(language: Language, text: str) -> str:
    return " ".join(language.terms(text))


def _vectors(number: int, chunk: Chunk, encode: Encode) -> Iterator[tuple[int, int, int, bytes]]:
    head = chunk.heading or chunk.title
    yield number, _HEADING, 0, encode(head)
    yield number, _WHOLE, 0, encode(f"{head}. {chunk.text}")
    for start, end in _blocks(chunk.text):
        passage = chunk.text[start:end]
        if len(passage) >= SHORTEST_PASSAGE and not passage.startswith("```"):
            yield number, start, end, encode(f"{head}. {passage}")


class Index:
    """An index in memory, for one thread or event loop."""

    def __init__(self, path: Path, encoder: Encoder | None = None) -> None:
        self._db = sqlite3.connect(":memory:", check_same_thread=False)
        self._db.deserialize(path.read_bytes())
        self._size: int = self._db.execute("SELECT count(*) FROM chunk").fetchone()[0]
        self._language = Language(self._db.execute("SELECT language FROM book").fetchone()[0])
        self._known = {word for (word,) in self._db.execute("SELECT word FROM word")}
        rows = self._db.execute("SELECT chunk, start, end FROM vector ORDER BY rowid").fetchall()
        self._places: list[tuple[int, int, int]] = rows
        self._encoder = encoder if rows else None
        if rows:
            stored = self._db.execute("SELECT vector FROM vector ORDER BY rowid")
            packed = b"".join(vector for (vector,) in stored)
            self._vectors = memoryview(packed).cast("b", shape=[len(rows), DIMENSIONS])
            self._db.executescript("DROP TABLE vector; VACUUM;")
        self._encoded: OrderedDict[str, bytes] = OrderedDict()
        self._chunk = lru_cache(256)(self._read_chunk)
        self._held = lru_cache(256)(self._terms_of)
        self._repair: Callable[[str], str | None] = lru_cache(512)(self._find_repair)
        self._frequency = lru_cache(4096)(self._read_frequency)

    def pages(self) -> list[tuple[str, str]]:
        """Slug and title of each page, in order."""
        return self._db.execute("SELECT slug, title FROM page ORDER BY position").fetchall()

    def page(self, slug: str) -> Page | None:
        row = self._db.execute("SELECT slug, title, html FROM page WHERE slug=?", (slug,))
        found = row.fetchone()
        return Page(*found) if found else None

    def headings(self) -> list[tuple[str, str, str]]:
        """URL, page title and heading of every section, in order."""
        return self._db.execute(
            "SELECT url, title, heading FROM chunk GROUP BY url ORDER BY min(id)"
        ).fetchall()

    def chunks(self) -> list[Chunk]:
        return [Chunk(*row) for row in self._db.execute(f"SELECT {COLUMNS} FROM chunk ORDER BY id")]

    def content_words(self, question: str) -> list[str]:
        """The words of `question` without its function words."""
        return self._language.question_words(question)

    async def find(self, question: str, top_k: int) -> list[Hit]:
        """Like `search`, but runs the slow step, some milliseconds, outside the event loop."""
        repaired = self._repaired(question)
        if self._encoder and repaired not in self._encoded:
            self._keep(repaired, await asyncio.to_thread(self._encoder.encode, repaired))
        return self.search(question, top_k)

    def search(self, question: str, top_k: int) -> list[Hit]:
        """The best sections for `question`, best first, each once; may be empty."""
        question = self._repaired(question)
        terms = [self._language.fold(word) for word in self._language.question_words(question)]
        terms = list(dict.fromkeys(terms))[:MOST_TERMS]
        if not terms:
            return []
        by_words = self._by_words(terms)
        near, passages = self._by_meaning(question)
        scores = dict(near) or by_words
        if near:
            share = WORDS_SHARE / math.log(1 + self._size)
            for number, score in by_words.items():
                scores[number] += share * score
        found: dict[str, tuple[float, int]] = {}
        for number in sorted(scores, key=lambda number: (-scores[number], number)):
            found.setdefault(self._chunk(number).url, (scores[number], number))
            if len(found) == top_k:
                break
        best = max((score for score, _ in found.values()), default=0.0)
        hits = []
        for score, number in found.values():
            chunk = self._chunk(number)
            covered = self._covered(terms, chunk)
            sure = (
                self._sure(near[number], covered, len(terms)) if near else min(1.0, 1.5 * covered)
            )
            passage = _passage(chunk.text, passages.get(number, (0, 0)))
            quoted = score == best or (bool(near) and score >= best - ALSO_QUOTED)
            hits.append(Hit(chunk, round(sure, 3), passage, quoted))
        return hits

    def _by_words(self, terms: list[str]) -> dict[int, float]:
        match = " OR ".join(f'"{term}"' for term in terms)
        ranked = self._db.execute(
            f"SELECT rowid, -bm25(fts, {HEADING_WEIGHT}, 1.0) FROM fts WHERE fts MATCH ?", (match,)
        )
        return dict(ranked.fetchall())

    def _by_meaning(self, question: str) -> tuple[dict[int, float], dict[int, tuple[int, int]]]:
        """The nearness of each chunk, about 0 to 1, and the span of its nearest passage."""
        if not self._encoder:
            return {}, {}
        encoded = self._encoded.get(question)
        if encoded is None:
            encoded = self._keep(question, self._encoder.encode(question))
        if not any(encoded):
            return {}, {}
        row = memoryview(encoded).cast("b", shape=[1, DIMENSIONS])
        compared: Any = simsimd.cdist(row, self._vectors, metric="cosine")
        distances: Any = memoryview(compared).tolist()
        whole: dict[int, float] = {}
        heading: dict[int, float] = {}
        best: dict[int, float] = {}
        where: dict[int, tuple[int, int]] = {}
        for (chunk, start, end), distance in zip(self._places, distances[0], strict=True):
            if start == _WHOLE:
                whole[chunk] = 1 - distance
            elif start == _HEADING:
                heading[chunk] = 1 - distance
            elif 1 - distance > best.get(chunk, -1.0):
                best[chunk], where[chunk] = 1 - distance, (start, end)
        total = 1 + PASSAGE_SHARE + HEADING_SHARE
        return {
            chunk: (
                near
                + PASSAGE_SHARE * best.get(chunk, near)
                + HEADING_SHARE * heading.get(chunk, near)
            )
            / total
            for chunk, near in whole.items()
        }, where

    def _keep(self, question: str, vector: bytes) -> bytes:
        self._encoded[question] = vector
        if len(self._encoded) > MOST_KEPT:
            self._encoded.popitem(last=False)
        return vector

    def _covered(self, terms: list[str], chunk: Chunk) -> float:
        """The share of the question's words that the chunk holds, weighted by their rarity."""
        held = self._held(chunk)
        weights = {term: math.log(1 + self._size / (0.5 + self._frequency(term))) for term in terms}
        total = sum(weights.values())
        return sum(w for term, w in weights.items() if term in held) / total if total else 0.0

    def _sure(self, near: float, covered: float, count: int) -> float:
        """The probability that a section with these values answers the question."""
        logit = (
            NEAR_SLOPE * near
            + COVERED_SLOPE * covered
            + WORD_SLOPE * min(count, MOST_COUNTED_WORDS)
            + CHUNK_SLOPE * math.log(sorted((self._size, *COUNTED_CHUNKS))[1])
            + CONSTANT
        )
        return 1 / (1 + math.exp(-logit))

    def _terms_of(self, chunk: Chunk) -> frozenset[str]:
        return frozenset(self._language.terms(f"{chunk.name} {chunk.text}"))

    def _read_frequency(self, term: str) -> int:
        row = self._db.execute("SELECT doc FROM term WHERE term=?", (term,)).fetchone()
        return row[0] if row else 0

    def _read_chunk(self, number: int) -> Chunk:
        row = self._db.execute(f"SELECT {COLUMNS} FROM chunk WHERE id=?", (number,)).fetchone()
        return Chunk(*row)

    def _repaired(self, question: str) -> str:
        """The question with misspelt words replaced by the nearest words of the book."""
        return _REPAIRABLE.sub(
            lambda found: self._repair(found[0]) or found[0], question, count=MOST_REPAIRED
        )

    def _find_repair(self, written: str) -> str | None:
        word = written.casefold()
        if not word.isascii() or word in self._known or self._frequency(self._language.fold(word)):
            return None
        if self._encoder and self._encoder.knows(word):
            return None
        if nearest := self._known.intersection(_one_edit_away(word)):
            by_use = sorted(nearest, key=lambda w: (-self._frequency(self._language.fold(w)), w))
            return str(by_use[0])
        alike = [w for w in self._known if w[:2] == word[:2] and abs(len(w) - len(word)) < 3]
        close = difflib.get_close_matches(word, alike, n=1, cutoff=0.8)
        return str(close[0]) if close else None


def _blocks(text: str) -> list[tuple[int, int]]:
    """Spans of the paragraphs, lists and code blocks of `text`; a code block is never cut."""
    return [m.span() for m in re.finditer(r"```.*?(?:```|\Z)|\S(?:(?!\n\n).)*", text, re.DOTALL)]


def _passage(text: str, best: tuple[int, int]) -> str:
    """The text, or of a long text the best block and the neighbours that fit."""
    if len(text) <= MOST_QUOTED_CHARS:
        return text
    blocks = _blocks(text)
    first = last = next((n for n, block in enumerate(blocks) if block[0] >= best[0]), 0)
    while True:
        after = last + 1 < len(blocks) and blocks[last + 1][1] - blocks[first][0]
        before = first > 0 and blocks[last][1] - blocks[first - 1][0]
        if after and after <= MOST_QUOTED_CHARS:
            last += 1
        elif before and before <= MOST_QUOTED_CHARS:
            first -= 1
        else:
            return text[blocks[first][0] : blocks[last][1]]


def _one_edit_away(word: str) -> Iterable[str]:
    splits = [(word[:i], word[i:]) for i in range(len(word) + 1)]
    letters = "abcdefghijklmnopqrstuvwxyz"
    for a, b in splits[1:-1]:
        if len(b) > 1:
            yield a + b[1] + b[0] + b[2:]
    for a, b in splits:
        if b:
            yield a + b[1:]
    for a, b in splits:
        for letter in letters:
            yield a + letter + b
            if b:
                yield a + letter + b[1:]
