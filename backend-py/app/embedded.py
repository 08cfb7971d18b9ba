"""Search without keys or network: one read-only SQLite FTS5 file, built into the image."""

import difflib
import math
import re
import sqlite3
import unicodedata
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
CANDIDATES = 60
LONGEST_PHRASE = 4
# How much a found synonym or a repaired word counts beside the word itself.
SYNONYM = 0.75
REPAIRED = 0.9
HEADING_BONUS = 1.3
BM25_SHARE = 0.1

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

_COLUMNS = "uid, doc, url, title, heading, text, hash"
_MATCH = "SELECT rowid FROM fts WHERE fts MATCH ?"

# FTS5 has no function that stems a word, but its vocabulary shows what it made of one.
_STEMMER = """
CREATE VIRTUAL TABLE temp.stemmer USING fts5(
  word, tokenize='porter unicode61 remove_diacritics 2');
CREATE VIRTUAL TABLE temp.stem USING fts5vocab(temp, stemmer, row);
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
    you your yours again already always anybody anyone anything anyway else ever every everybody
    everyone everything fine immediately instead never nobody normal nothing ok okay one
    somebody someone somehow sometimes still stuff suddenly theirs today weird wrong
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


@dataclass(frozen=True)
class _Term:
    words: dict[str, float]
    weight: float


@dataclass(frozen=True)
class _Passage:
    """A chunk, its sentences, which joined are its text, and the words of each as stored."""

    chunk: Chunk
    sentences: list[str]
    stems: list[frozenset[str]]


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
            members = {" ".join(_words(word)) for word in group}
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
        self._known: set[str] = {word for (word,) in self._db.execute("SELECT word FROM word")}
        self._db.executescript(_STEMMER)
        self._urls: dict[int, str] = dict(self._db.execute("SELECT id, url FROM chunk"))
        self._rows = lru_cache(maxsize=512)(self._read_rows)
        self._passage = lru_cache(maxsize=256)(self._read_passage)
        self._stem = lru_cache(maxsize=4096)(self._stem_words)
        self._repair = lru_cache(maxsize=512)(self._find_repair)
        self._synonyms: dict[str, list[str]] = {}
        for word, others in self._db.execute("SELECT word, others FROM synonym").fetchall():
            self._synonyms.setdefault(self._stem(word), []).extend(others.split("\n"))

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
        rows = self._db.execute(f"SELECT {_COLUMNS} FROM chunk ORDER BY id")
        return [Chunk(*row) for row in rows]

    def search(self, question: str, top_k: int) -> list[Hit]:
        """The best sections for `question`, best first, one passage each; may be empty."""
        terms = self._terms(question)
        if not terms:
            return []
        match = " OR ".join(sorted({f'"{word}"' for term in terms for word in term.words}))
        ranked = self._db.execute(
            "SELECT rowid, bm25(fts, 1.0, 4.0, 1.0) FROM fts WHERE fts MATCH ? ORDER BY 2 LIMIT ?",
            (match, CANDIDATES),
        )
        places = [
            (term.weight, [(trust, *self._rows(word)) for word, trust in term.words.items()])
            for term in terms
        ]
        total = sum(term.weight for term in terms)
        found: dict[str, tuple[float, float, int]] = {}
        for rowid, bm25 in ranked:
            covered, score = 0.0, BM25_SHARE * -bm25
            for weight, alternatives in places:
                best = best_place = 0.0
                for trust, rows, headings in alternatives:
                    if rowid in rows:
                        best = max(best, trust)
                        bonus = HEADING_BONUS if rowid in headings else 1.0
                        best_place = max(best_place, trust * bonus)
                covered += best * weight
                score += best_place * weight
            url = self._urls[rowid]
            if url not in found or found[url][0] < score:
                found[url] = (score, covered / total, rowid)
        best_first = sorted(found.values(), key=lambda entry: (-entry[0], entry[2]))[:top_k]
        wanted = {stem for term in terms for w in term.words for stem in self._stem(w).split()}
        return [self._hit(rowid, wanted, coverage) for _, coverage, rowid in best_first]

    def _hit(self, rowid: int, wanted: set[str], coverage: float) -> Hit:
        passage = self._passage(rowid)
        chunk = passage.chunk
        different = chunk.heading and chunk.heading != chunk.title
        title = f"{chunk.title} > {chunk.heading}" if different else chunk.title
        window = _window(passage, wanted)
        return Hit(chunk.id, chunk.url, title, chunk.text, round(coverage, 3), window)

    def _read_passage(self, rowid: int) -> _Passage:
        row = self._db.execute(f"SELECT {_COLUMNS} FROM chunk WHERE id=?", (rowid,)).fetchone()
        chunk = Chunk(*row)
        sentences = [match[0] for match in _SENTENCE.finditer(chunk.text)]
        stems = [frozenset(self._stem(word) for word in _words(s)) for s in sentences]
        return _Passage(chunk, sentences, stems)

    def _terms(self, question: str) -> list[_Term]:
        """The question's words that carry meaning, each with what may stand for it in the book."""
        words = _words(question)
        stems = [self._stem(word) for word in words]
        terms: dict[str, _Term] = {}
        position = 0
        while position < len(words) and len(terms) < MAX_TERMS:
            length = self._phrase_at(stems, position)
            phrase = " ".join(words[position : position + length])
            position += length
            if length == 1 and (len(phrase) < 2 or phrase in _STOP_WORDS):
                continue
            if phrase.isdigit() and not self._frequency(phrase):
                # A number that the book lacks says nothing about the topic.
                continue
            alternatives = {phrase: 1.0}
            unknown = length == 1 and not self._frequency(phrase)
            if unknown and (near := self._repair(phrase)):
                phrase, alternatives = near, {near: REPAIRED}
            for other in self._synonyms.get(self._stem(phrase), ()):
                alternatives.setdefault(other, SYNONYM)
            terms.setdefault(phrase, _Term(alternatives, self._weight(alternatives)))
        return list(terms.values())

    def _phrase_at(self, stems: list[str], position: int) -> int:
        """How many words from `position` on make up a known phrase; 1 when they do not."""
        for length in range(LONGEST_PHRASE, 1, -1):
            if " ".join(stems[position : position + length]) in self._synonyms:
                return min(length, len(stems) - position)
        return 1

    def _stem_words(self, text: str) -> str:
        """`text` with each word as the index stores it."""
        out = []
        for word in _words(text):
            self._db.execute("DELETE FROM temp.stemmer")
            self._db.execute("INSERT INTO temp.stemmer VALUES(?)", (word,))
            row = self._db.execute("SELECT term FROM temp.stem").fetchone()
            out.append(row[0] if row else word)
        return " ".join(out)

    def _read_rows(self, words: str) -> tuple[frozenset[int], frozenset[int]]:
        """The chunks that hold `words` in a row: anywhere, and in a title or heading."""
        return (
            frozenset(row for (row,) in self._db.execute(_MATCH, (f'"{words}"',))),
            frozenset(
                row for (row,) in self._db.execute(_MATCH, (f'{{title heading}}: "{words}"',))
            ),
        )

    def _frequency(self, words: str) -> int:
        return len(self._rows(words)[0])

    def _weight(self, alternatives: dict[str, float]) -> float:
        """How rare the word is, in the way of BM25; one that the book lacks counts as rare."""
        own = next(iter(alternatives))
        frequency = self._frequency(own) or max(map(self._frequency, alternatives))
        return math.log(1 + (self._size - frequency + 0.5) / (frequency + 0.5))

    def _find_repair(self, word: str) -> str | None:
        """The word of the book that `word` is probably a misspelling of."""
        if len(word) < 4 or not word.isalpha():
            return None
        if nearest := self._known.intersection(_one_edit_away(word)):
            return max(sorted(nearest), key=self._frequency)
        alike = [w for w in self._known if w[:2] == word[:2] and abs(len(w) - len(word)) < 3]
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


_SENTENCE = re.compile(r"```.*?```\s*|[^\n]+?(?:[.!?](?=\s)|$|(?=\n))\s*|\s+", re.DOTALL)


def _window(passage: _Passage, wanted: set[str]) -> str:
    """The run of sentences, at most WINDOW_CHARS long, that holds the most of the wanted words."""
    sentences, found = passage.sentences, [stems & wanted for stems in passage.stems]
    best, best_score = "", -1.0
    for first in range(len(sentences)):
        if first and not found[first]:
            continue
        last, length, words = first + 1, len(sentences[first]), set(found[first])
        hits = len(words)
        while last < len(sentences) and length + len(sentences[last]) <= WINDOW_CHARS:
            length += len(sentences[last])
            words |= found[last]
            hits += len(found[last])
            last += 1
        score = len(words) + 0.1 * hits - 0.2 * (first > 0)
        if score > best_score:
            best, best_score = "".join(sentences[first:last]).strip(), score
    if len(best) <= WINDOW_CHARS:
        return best
    cut = best.rfind(" ", 1, WINDOW_CHARS)
    return best[: cut if cut > 0 else WINDOW_CHARS].rstrip()
