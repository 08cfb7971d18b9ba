"""Splits texts into search terms: folded, stemmed in the book's language, CJK in pairs."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache

import Stemmer  # type: ignore[import-not-found]

# Function words that identify the language of a book. They are removed from questions: otherwise
# "how do I" would rank the sections that contain "how" and "do".
_FUNCTION_WORDS = {
    "english": """
        the of and to in is that it for as with on are this not be by or from an a about any at
        because been being but can could did do does get had has have how i if into its just me
        my no our should so some than their them then there these they those too up us was we
        were what when where which while who whom whose why will with would you your please
        still really very also am been got getting let like make makes may might must need want
        wants use using used s t m re ve ll d don doesn isn can cannot anyone anything something
        everybody """
    "somebody",  # codespell:ignore somebody
    "german": """
        der die das und ist nicht ein eine einen mit auf für von dem den im zu wird werden sich auch
        wer wie was oder bei nach aus""",
    "french": """
        le la les des est pas une un dans pour que qui sur avec sont du au aux ce cette il elle ou
        par plus se""",
    "spanish": """
        el la los las una un que es no en con para por del se su como más pero sus al lo""",
    "italian": "il lo gli una un che è non per con del della sono si come più ma nel alla dei",
    "portuguese": "o os as uma um que é não em com para por do da se como mais mas ao dos",
    "dutch": "de het een en is niet van op met voor dat die zijn aan te bij ook als maar",
}
LANGUAGES = tuple(_FUNCTION_WORDS)
_WORD = re.compile(r"[^\W_]+")
# Scripts without spaces: kana and ideographs; and Hangul, whose endings are attached to words.
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]+")
_ACCENTS = {**dict.fromkeys(range(0x300, 0x370)), ord("œ"): "oe", ord("æ"): "ae"}


def words(text: str) -> list[str]:
    """The words of `text`, lower case, as they are written."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


class Language:
    """Normalises the words of a language. `name` is one of LANGUAGES, or "other"."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._stemmer = Stemmer.Stemmer(name) if name in LANGUAGES else None
        self._ignored = frozenset(_FUNCTION_WORDS.get(name, "").split())
        self.fold = lru_cache(8192)(self._fold)

    def terms(self, text: str) -> list[str]:
        """The terms under which `text` is indexed."""
        return [self.fold(part) for word in words(text) for part in _parts(word)]

    def question_words(self, text: str) -> list[str]:
        """The words of a question without its function words."""
        found = (part for word in words(text) for part in _parts(word))
        return [w for w in found if w not in self._ignored and (len(w) > 1 or _CJK.match(w))]

    def _fold(self, word: str) -> str:
        stem = self._stemmer.stemWord(word) if self._stemmer and not _CJK.match(word) else word
        return unicodedata.normalize("NFKD", stem).translate(_ACCENTS)


def language_of(texts: Iterable[str]) -> str:
    """The language whose function words are most frequent in `texts`, or "other"."""
    counts = Counter(word for text in texts for word in words(text))
    shares = {
        name: sum(counts[word] for word in set(listed.split()[:20]))
        for name, listed in _FUNCTION_WORDS.items()
    }
    best = max(shares, key=lambda name: shares[name])
    return best if shares[best] * 20 > counts.total() else "other"


def _parts(word: str) -> Iterator[str]:
    """The word itself; each run of CJK as its pairs of adjacent characters."""
    position = 0
    for run in _CJK.finditer(word):
        if run.start() > position:
            yield word[position : run.start()]
        pairs = run[0]
        yield from (pairs[i : i + 2] for i in range(max(1, len(pairs) - 1)))
        position = run.end()
    if position < len(word):
        yield word[position:]
