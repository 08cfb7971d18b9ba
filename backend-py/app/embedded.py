"""Search without keys or network: one read-only SQLite FTS5 file, built into the image."""

import difflib
import math
import re
import sqlite3
import unicodedata
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

# Answers below REFUSE are refused, below CERTAIN they say that they are a guess. The figure is the
# share of the question's words, weighted by how rare they are, that the best passage contains.
REFUSE = 0.40
CERTAIN = 0.60
WINDOW_CHARS = 480
MAX_TERMS = 32
CANDIDATES = 40

_SCHEMA = """
CREATE TABLE chunk(
  id INTEGER PRIMARY KEY, uid TEXT, doc TEXT, url TEXT, title TEXT, heading TEXT, text TEXT,
  hash TEXT);
CREATE VIRTUAL TABLE fts USING fts5(
  title, heading, text, content='chunk', content_rowid='id',
  tokenize='porter unicode61 remove_diacritics 2');
CREATE TABLE page(slug TEXT PRIMARY KEY, position INTEGER, title TEXT, html TEXT);
CREATE TABLE word(word TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE synonym(word TEXT PRIMARY KEY, others TEXT) WITHOUT ROWID;
"""

_STOP_TEXT = """
    a about after all also am an and any are as at be because been before being both but by can
    cannot could did do does doing don down during each either few for from further get gets give
    go goes going got had has have having he her here hers him his how i if in into is isn it its
    itself just kind let like make many may me might mine more most much must my need no nor not of
    off on once only or other our ours out over own please really same see shall she should show so
    some something such tell than that the their theirs them then there these they thing things
    this those through to too under until up upon us use used using very want was way we were what
    when where whether which while who whom whose why will with within without won would yes yet
    you your yours
"""
_STOP_WORDS = frozenset(_STOP_TEXT.split())


@dataclass(frozen=True)
class Chunk:
    """A piece of one section. `doc` is the page it came from, `hash` covers what is searched."""

    id: str
    doc: str
    url: str
    title: str
    heading: str
    text: str
    hash: str


@dataclass(frozen=True)
class Page:
    """A page as this Space serves it itself."""

    slug: str
    title: str
    html: str


@dataclass(frozen=True)
class Hit:
    """A passage found. `score` is the share of the question it covers, 0 to 1."""

    id: str
    url: str
    title: str
    text: str
    score: float
    window: str


def write_index(
    path: Path,
    chunks: Iterable[Chunk],
    pages: Iterable[Page],
    synonyms: Iterable[Iterable[str]] = (),
) -> int:
    """Writes the index and returns the number of chunks. The same input gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    with sqlite3.connect(part) as db:
        db.executescript(_SCHEMA)
        words: set[str] = set()
        count = 0
        for count, c in enumerate(chunks, 1):
            db.execute(
                "INSERT INTO chunk VALUES(?,?,?,?,?,?,?,?)",
                (count, c.id, c.doc, c.url, c.title, c.heading, c.text, c.hash),
            )
            words.update(_words(f"{c.title} {c.heading} {c.text}"))
        db.execute("INSERT INTO fts(fts) VALUES('rebuild')")
        db.execute("INSERT INTO fts(fts) VALUES('optimize')")
        for position, page in enumerate(pages):
            db.execute(
                "INSERT INTO page VALUES(?,?,?,?)", (page.slug, position, page.title, page.html)
            )
        db.executemany(
            "INSERT INTO word VALUES(?)",
            [(w,) for w in sorted(words) if w.isalpha() and len(w) > 3],
        )
        others: dict[str, set[str]] = {}
        for group in synonyms:
            members = {word.casefold() for word in group}
            for word in members:
                others.setdefault(word, set()).update(members - {word})
        db.executemany(
            "INSERT INTO synonym VALUES(?,?)",
            [(word, "\n".join(sorted(found))) for word, found in sorted(others.items())],
        )
    db.execute("VACUUM")
    db.close()
    part.replace(path)
    return count


class Index:
    """An index in memory. Not for several threads at once."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(":memory:", check_same_thread=False)
        self._db.deserialize(path.read_bytes())
        self._size: int = self._db.execute("SELECT count(*) FROM chunk").fetchone()[0]
        self._known = {word for (word,) in self._db.execute("SELECT word FROM word")}
        self._synonyms = {
            word: others.split("\n")
            for word, others in self._db.execute("SELECT word, others FROM synonym")
        }
        self._rows = lru_cache(maxsize=512)(self._read_rows)

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
        rows = self._db.execute(
            "SELECT uid, doc, url, title, heading, text, hash FROM chunk ORDER BY id"
        )
        return [Chunk(*row) for row in rows]

    def search(self, question: str, top_k: int) -> list[Hit]:
        """The best sections for `question`, best first, one passage each; may be empty."""
        terms = self._terms(question)
        variants = {v for alternatives in terms for v in alternatives}
        if not variants:
            return []
        match = " OR ".join(f'"{v}"' for v in sorted(variants))
        ranked = self._db.execute(
            "SELECT rowid, bm25(fts, 2.0, 5.0, 1.0) FROM fts WHERE fts MATCH ?"
            " ORDER BY rank LIMIT ?",
            (match, CANDIDATES),
        ).fetchall()
        weights = [self._idf(alternatives) for alternatives in terms]
        total = sum(weights)
        found: dict[str, tuple[float, float, int]] = {}
        for rowid, bm25 in ranked:
            covered = sum(
                weight
                for weight, alternatives in zip(weights, terms, strict=True)
                if any(rowid in self._rows(v) for v in alternatives)
            )
            coverage = covered / total
            url = self._db.execute("SELECT url FROM chunk WHERE id=?", (rowid,)).fetchone()[0]
            entry = (-bm25 * (0.5 + coverage), coverage, rowid)
            if url not in found or found[url] < entry:
                found[url] = entry
        best = sorted(found.values(), key=lambda e: (-e[0], e[2]))[:top_k]
        return [self._hit(rowid, match, coverage) for _, coverage, rowid in best]

    def _hit(self, rowid: int, match: str, coverage: float) -> Hit:
        uid, url, title, heading, text, marked = self._db.execute(
            "SELECT uid, url, chunk.title, chunk.heading, chunk.text,"
            " highlight(fts, 2, char(2), char(3))"
            " FROM fts JOIN chunk ON chunk.id = fts.rowid WHERE fts MATCH ? AND fts.rowid = ?",
            (match, rowid),
        ).fetchone()
        name = f"{title} > {heading}" if heading and heading != title else title
        return Hit(uid, url, name, text, round(coverage, 3), _window(marked))

    def _terms(self, question: str) -> list[tuple[str, ...]]:
        """For each word that carries meaning, the words that may stand for it in the book."""
        terms: dict[str, tuple[str, ...]] = {}
        for word in content_words(question):
            if word in terms:
                continue
            alternatives = [word, *self._synonyms.get(word, ())]
            if not any(self._rows(a) for a in alternatives) and (near := self._repair(word)):
                alternatives = [near, *self._synonyms.get(near, ())]
            terms[word] = tuple(alternatives)
            if len(terms) == MAX_TERMS:
                break
        return list(terms.values())

    def _read_rows(self, word: str) -> frozenset[int]:
        rows = self._db.execute("SELECT rowid FROM fts WHERE fts MATCH ?", (f'"{word}"',))
        return frozenset(array("L", (row for (row,) in rows)))

    def _idf(self, alternatives: tuple[str, ...]) -> float:
        frequency = max(len(self._rows(a)) for a in alternatives)
        return math.log(1 + (self._size - frequency + 0.5) / (frequency + 0.5))

    def _repair(self, word: str) -> str | None:
        """The word of the book that `word` is probably a misspelling of."""
        if len(word) < 4 or not word.isalpha():
            return None
        for near in _one_edit_away(word):
            if near in self._known:
                return near
        alike = [w for w in self._known if w[0] == word[0] and abs(len(w) - len(word)) < 3]
        close = difflib.get_close_matches(word, alike, n=1, cutoff=0.8)
        return close[0] if close else None


def content_words(text: str) -> list[str]:
    """The words of `text` that carry meaning."""
    return [word for word in _words(text) if len(word) > 1 and word not in _STOP_WORDS]


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text).casefold())


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


_SENTENCE = re.compile(r"```.*?```|[^\n]+?(?:[.!?](?=\s)|\n|$)", re.DOTALL)
_MARKED = re.compile("\x02(.*?)\x03", re.DOTALL)


def _window(marked: str) -> str:
    """The run of sentences, at most WINDOW_CHARS long, with the most different marked words."""
    spans = [(m.start(), m.end()) for m in _SENTENCE.finditer(marked)]
    best, best_score = "", -1.0
    for first in range(len(spans)):
        start, window = spans[first][0], ""
        for last in range(first, len(spans)):
            longer = marked[start : spans[last][1]]
            if len(_MARKED.sub(r"\1", longer).strip()) > WINDOW_CHARS and window:
                break
            window = longer
        found = [m[1].casefold()[:6] for m in _MARKED.finditer(window)]
        score = len(set(found)) + 0.1 * len(found) - 0.2 * (first > 0)
        if score > best_score:
            best, best_score = window, score
    plain = _MARKED.sub(r"\1", best).strip()
    if len(plain) <= WINDOW_CHARS:
        return plain
    return plain[: plain.rfind(" ", 1, WINDOW_CHARS)].rstrip()
