"""Finds the passages for a model's answer: those of Qdrant and of the index in the image, fused."""

import asyncio
import logging
from array import array
from collections import OrderedDict
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import TypeVar

from app.cohere import Cohere
from app.embedded import Hit, Index
from app.errors import ApiError
from app.qdrant import Point, Qdrant
from app.quoting import answers
from app.schemas import ChatRequest, Source
from app.settings import Settings

log = logging.getLogger("app.retrieval")

SELECTION = "selection"
SNIPPET_CHARS = 480
MOST_VECTORS = 512
# The steps before the answer must leave it time; shorter limits of the settings apply.
EMBED_SECONDS = 5.0
RERANK_SECONDS = 3.0
# Damps the weight of the first ranks. Source: Cormack et al., "Reciprocal Rank Fusion", 2009.
RANK_CONSTANT = 60
# Candidates per requested passage, for the reranker to choose from.
CANDIDATES = 4
Result = TypeVar("Result")


@dataclass
class Retrieved:
    """`refused`: the nearest sections, if the book does not answer the question."""

    sources: list[Source] = field(default_factory=list)
    documents: list[dict[str, object]] = field(default_factory=list)
    degraded_by: list[str] = field(default_factory=list)
    refused: list[Hit] = field(default_factory=list)


class Retrieval:
    """Finds passages in cloud mode; raises UpstreamError when Cohere's vectors or Qdrant fail."""

    def __init__(
        self, settings: Settings, cohere: Cohere, qdrant: Qdrant, index: Index | None
    ) -> None:
        self._settings = settings
        self._cohere, self._qdrant, self._index = cohere, qdrant, index
        self._chunks = {chunk.id for chunk in index.chunks()} if index else set()
        self._vectors: OrderedDict[str, array[float]] = OrderedDict()

    async def retrieve(self, query: str, request: ChatRequest) -> Retrieved:
        """The best passages for `query`; none if the book does not answer it."""
        vector = await self._vector(query)
        rerank = self._settings.rerank_model is not None
        limit = request.top_k * (CANDIDATES if rerank else 1)
        points = await self._qdrant.search(vector.tolist(), limit)
        retrieved = Retrieved()
        # A collection that `ingest push` did not fill holds another book than the image's index.
        if self._index and any(point.id in self._chunks for point in points):
            hits = await self._index.find(query, limit)
            if not answers(hits) and not request.selected_text:
                retrieved.refused = hits
                return retrieved
            points = _fused(points, hits)[:limit]
        if rerank and points:
            points = await self._reranked(query, points, request.top_k, retrieved)
        points = points[: request.top_k]
        retrieved.sources = [_source(point) for point in points]
        retrieved.documents = [_document(point.id, point.title, point.text) for point in points]
        if request.selected_text:
            # The reader's selection comes first and may be cited like a passage.
            title, text = "Selected text", request.selected_text
            retrieved.documents.insert(0, _document(SELECTION, title, text))
            retrieved.sources.insert(
                0, Source(id=SELECTION, title=title, url="", score=1, snippet=text[:SNIPPET_CHARS])
            )
        return retrieved

    async def _vector(self, query: str) -> "array[float]":
        if query in self._vectors:
            return self._vectors[query]
        call = self._cohere.embed([query], documents=False)
        (numbers,) = await self._within(EMBED_SECONDS, call)
        self._qdrant.expect(len(numbers))
        # Single floats take an eighth of the memory of a list of numbers.
        vector = self._vectors[query] = array("f", numbers)
        if len(self._vectors) > MOST_VECTORS:
            self._vectors.popitem(last=False)
        return vector

    async def _reranked(
        self, query: str, points: list[Point], top_k: int, retrieved: Retrieved
    ) -> list[Point]:
        """`points` in the reranker's order; in the given order if it fails."""
        call = self._cohere.rerank(query, [point.text for point in points], top_k)
        try:
            return [points[n] for n in await self._within(RERANK_SECONDS, call)]
        except ApiError as error:
            log.warning("not reranked", extra={"data": {"code": error.code}})
            retrieved.degraded_by.append(f"rerank: {error.code}")
            return points

    async def _within(self, seconds: float, call: Awaitable[Result]) -> Result:
        try:
            async with asyncio.timeout(min(seconds, self._settings.upstream_timeout)):
                return await call
        except TimeoutError:
            raise self._cohere.failure(504, "upstream_timeout") from None


def _fused(points: list[Point], hits: list[Hit]) -> list[Point]:
    """Both lists merged, ordered by the sum of 1 / (RANK_CONSTANT + rank)."""
    scores: dict[str, float] = {}
    found: dict[str, Point] = {}
    for rank, point in enumerate(points, 1):
        scores[point.id] = 1 / (RANK_CONSTANT + rank)
        found[point.id] = point
    for rank, hit in enumerate(hits, 1):
        chunk = hit.chunk
        scores[chunk.id] = scores.get(chunk.id, 0.0) + 1 / (RANK_CONSTANT + rank)
        found.setdefault(chunk.id, Point(chunk.id, chunk.name, chunk.url, chunk.text, hit.score))
    return sorted(found.values(), key=lambda point: -scores[point.id])


def _document(name: str, title: str, text: str) -> dict[str, object]:
    return {"id": name, "data": {"title": title, "text": text}}


def _source(point: Point) -> Source:
    return Source(
        id=point.id,
        title=point.title,
        url=point.url,
        score=point.score,
        snippet=point.text[:SNIPPET_CHARS],
    )
