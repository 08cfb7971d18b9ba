"""Qdrant over REST. Source: api.qdrant.tech.

The SDK is not used: it imports numpy and grpc, which are five times as large as this service.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from app.settings import Settings
from app.upstream import UNREADABLE, Upstream, UpstreamError

TEXT_KEYS = ("text", "content", "chunk", "page_content")
TITLE_KEYS = ("title", "heading", "chapter")
URL_KEYS = ("url", "source", "path")
# Default vector length of known models.
# Source: docs.cohere.com/docs/cohere-embed
DIMENSIONS = {
    "embed-v4.0": 1536,
    "embed-english-v3.0": 1024,
    "embed-multilingual-v3.0": 1024,
    "embed-english-light-v3.0": 384,
    "embed-multilingual-light-v3.0": 384,
}


@dataclass(frozen=True)
class Collection:
    """The vectors of a collection: name (empty when unnamed) and length of each, and points."""

    vectors: dict[str, int]
    points: int

    def named(self, size: int) -> str | None:
        """The name of a vector of `size`, or None."""
        return next((name for name, length in self.vectors.items() if length == size), None)


@dataclass(frozen=True)
class Point:
    id: str
    title: str
    url: str
    text: str
    score: float


class Qdrant(Upstream):
    """One collection; every method raises UpstreamError."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(
            "Qdrant",
            settings.qdrant_url,
            {"api-key": settings.qdrant_api_key.get_secret_value()},
            seconds=settings.qdrant_timeout,
            connect=2,
        )
        self._path = f"/collections/{settings.collection_name}"
        self._collection: Collection | None = None
        self._absent = False
        self._size = settings.embed_dimension or DIMENSIONS.get(settings.embed_model)

    def present_problem(self) -> str | None:
        # It is probed every few seconds, so the last call is always recent.
        if self.problem or not self._collection:
            return self.problem or ("collection_missing" if self._absent else None)
        if not self._collection.points:
            return "collection_empty"
        fits = self._size is None or self._collection.named(self._size) is not None
        return None if fits else "vector_size_mismatch"

    def expect(self, size: int) -> None:
        """Sets the vector length of the model, against which the collection is checked."""
        self._size = size

    async def collection(self) -> Collection | None:
        """The present state of the collection; None if it is absent."""
        try:
            answer = await self.json("GET", self._path)
        except UpstreamError as error:
            if error.code != "upstream_not_found":
                raise
            # Qdrant works; only the collection is absent.
            self.succeeded()
            self._absent, self._collection = True, None
            return None
        try:
            vectors = answer["result"]["config"]["params"]["vectors"]
            if "size" in vectors:
                vectors = {"": vectors}
            self._absent = False
            self._collection = Collection(
                {name: int(v["size"]) for name, v in vectors.items()},
                int(answer["result"].get("points_count") or 0),
            )
        except UNREADABLE:
            raise self.failure(502, "upstream_bad_response") from None
        return self._collection

    async def search(self, vector: list[float], limit: int) -> list[Point]:
        """The nearest passages, best first; points without text are left out.

        No filter is used: Qdrant Cloud refuses filters on fields without an index.
        """
        collection = self._collection or await self.collection()
        name = collection.named(len(vector)) if collection else None
        if name is None:
            # The collection may since have been recreated with other vectors.
            self._collection = None
            raise self.failure(502, "vector_size_mismatch" if collection else "upstream_not_found")
        body: dict[str, object] = {"query": vector, "limit": limit, "with_payload": True}
        if name:
            body["using"] = name
        try:
            answer = await self.json("POST", f"{self._path}/points/query", body)
        except UpstreamError:
            self._collection = None
            raise
        try:
            found = [p for given in answer["result"]["points"] if (p := _point(given))]
        except UNREADABLE:
            raise self.failure(502, "upstream_bad_response") from None
        if not found and not (await self.collection() or Collection({}, 0)).points:
            raise self.failure(502, "collection_empty")
        return found

    async def create(self, size: int) -> None:
        await self.json("PUT", self._path, {"vectors": {"size": size, "distance": "Cosine"}})

    async def create_keyword_index(self, field: str) -> None:
        body = {"field_name": field, "field_schema": "keyword"}
        await self.json("PUT", f"{self._path}/index?wait=true", body)

    async def ids(self) -> AsyncIterator[str]:
        """The id of every point that carries a `hash`, as those of `ingest push` do."""
        offset: object = None
        while True:
            body = {"limit": 1000, "offset": offset, "with_payload": ["hash"], "with_vector": False}
            answer = await self.json("POST", f"{self._path}/points/scroll", body)
            try:
                for point in answer["result"]["points"]:
                    if (point.get("payload") or {}).get("hash"):
                        yield str(point["id"])
                offset = answer["result"].get("next_page_offset")
            except UNREADABLE:
                raise self.failure(502, "upstream_bad_response") from None
            if offset is None:
                return

    async def upsert(self, points: list[dict[str, object]]) -> None:
        await self.json("PUT", f"{self._path}/points?wait=true", {"points": points})

    async def delete(self, ids: list[str]) -> None:
        await self.json("POST", f"{self._path}/points/delete?wait=true", {"points": ids})


def _point(given: dict[str, Any]) -> Point | None:
    payload = given.get("payload") or {}
    nested = payload.get("metadata")
    # LangChain's vector stores nest all fields but the text in `metadata`.
    fields = {**nested, **payload} if isinstance(nested, dict) else payload
    text = _first(fields, TEXT_KEYS)
    if not text:
        return None
    url = _first(fields, URL_KEYS)
    title = _first(fields, TITLE_KEYS) or url
    return Point(str(given["id"]), title, url, text, round(float(given["score"]), 4))


def _first(fields: dict[str, Any], keys: tuple[str, ...]) -> str:
    found = (fields[key] for key in keys if isinstance(fields.get(key), str))
    return next((text.strip() for text in found if text.strip()), "")
