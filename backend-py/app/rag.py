"""From a question to a cited answer."""

import secrets
from collections import OrderedDict
from collections.abc import AsyncGenerator

from app.embedded import CERTAIN, REFUSE, Hit, Index
from app.http import event
from app.schemas import ChatRequest, ChatResponse, Citation, SearchResponse, Source
from app.settings import Settings

QUOTED = 3
CLOSEST = "The closest passages in the book:"
GUESS = "I am not sure that the book answers this. The closest passages:"
NOTHING = "The book does not seem to answer this. Try other words, or ask about something in it."


class Answerer:
    """Answers questions in the mode that the settings choose."""

    def __init__(self, settings: Settings, index: Index) -> None:
        self._settings = settings
        self._index = index
        self._issued: OrderedDict[str, tuple[str, str]] = OrderedDict()

    def services(self) -> dict[str, str]:
        return {"cohere": "embedded", "qdrant": "embedded"}

    def unready(self) -> str | None:
        """Why no question can be answered now, or None."""
        return None

    async def answer(self, request: ChatRequest) -> ChatResponse:
        return self._extract(request, degraded=False)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[bytes, None]:
        """The frames of the answer; what can fail with a status fails before this returns."""
        return _frames(await self.answer(request))

    async def search(self, query: str, top_k: int) -> SearchResponse:
        return SearchResponse(results=[_source(hit) for hit in self._index.search(query, top_k)])

    def _extract(self, request: ChatRequest, *, degraded: bool) -> ChatResponse:
        hits = self._index.search(request.question, request.top_k)
        answer_id = secrets.token_hex(8)
        if not hits or hits[0].score < REFUSE:
            return ChatResponse(
                id=answer_id,
                answer=NOTHING,
                mode="none",
                grounded=False,
                degraded=degraded,
                citations=[],
                sources=[],
            )
        answer = CLOSEST if hits[0].score >= CERTAIN else GUESS
        citations = []
        for hit in hits[:QUOTED]:
            start = len(answer) + 2
            answer += "\n\n" + hit.window
            citations.append(Citation(start=start, end=len(answer), sources=[hit.id]))
        return ChatResponse(
            id=answer_id,
            answer=answer,
            mode="extractive",
            grounded=True,
            degraded=degraded,
            citations=citations,
            sources=[_source(hit) for hit in hits],
        )


def _source(hit: Hit) -> Source:
    return Source(id=hit.id, title=hit.title, url=hit.url, score=hit.score, snippet=hit.window)


async def _frames(answer: ChatResponse) -> AsyncGenerator[bytes, None]:
    """A complete answer as a stream: one delta per cited passage."""
    yield event("meta", {"id": answer.id, "mode": answer.mode, "degraded": answer.degraded})
    yield event("sources", {"sources": [source.model_dump() for source in answer.sources]})
    sent = 0
    for citation in answer.citations:
        yield event("delta", {"text": answer.answer[sent : citation.end]})
        yield event("citation", citation.model_dump())
        sent = citation.end
    if sent < len(answer.answer):
        yield event("delta", {"text": answer.answer[sent:]})
    yield event("done", {"grounded": answer.grounded, "finish_reason": "COMPLETE"})
