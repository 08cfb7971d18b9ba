"""Answers that quote passages of the book word for word, and refusals."""

from app.embedded import CERTAIN, REFUSE, Hit
from app.schemas import ChatResponse, Citation, Source

CLOSEST = "From the book:"
GUESS = "I am not sure that the book answers this. The closest passage:"
NOTHING = "The book does not seem to answer this. Try other words, or one of its nearest sections."
EMPTY = "The book does not seem to answer this. Try other words, or ask about a topic of the book."
# The most sections that a refusal lists.
MOST_OFFERED = 3


def quote(hits: list[Hit], degraded_by: list[str]) -> ChatResponse:
    """The passages that are worth quoting; a refusal if even the best probably does not answer."""
    if not answers(hits):
        return refuse(hits, degraded_by)
    answer = CLOSEST if hits[0].score >= CERTAIN else GUESS
    citations = []
    for hit in hits:
        if hit.quoted:
            start = len(answer) + 2
            answer += "\n\n" + hit.passage
            citations.append(Citation(start=start, end=len(answer), sources=[hit.chunk.id]))
    return ChatResponse(
        id="",
        answer=answer,
        mode="extractive",
        grounded=True,
        degraded=bool(degraded_by),
        degraded_by=degraded_by,
        citations=citations,
        sources=[source_of(hit) for hit in hits],
    )


def refuse(hits: list[Hit], degraded_by: list[str]) -> ChatResponse:
    """A refusal with the nearest sections as uncited sources."""
    return ChatResponse(
        id="",
        answer=NOTHING if hits else EMPTY,
        mode="none",
        grounded=False,
        degraded=bool(degraded_by),
        degraded_by=degraded_by,
        citations=[],
        sources=[source_of(hit) for hit in hits[:MOST_OFFERED]],
    )


def answers(hits: list[Hit]) -> bool:
    """Whether the best of `hits` may answer the question."""
    return bool(hits) and hits[0].score >= REFUSE


def source_of(hit: Hit) -> Source:
    chunk = hit.chunk
    return Source(
        id=chunk.id, title=chunk.name, url=chunk.url, score=hit.score, snippet=hit.passage
    )
