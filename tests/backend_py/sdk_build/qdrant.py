"""Qdrant through its SDK."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from app.settings import Settings, effective_port
from qdrant_client import AsyncQdrantClient


@dataclass(frozen=True)
class Collection:
    points: int


@dataclass(frozen=True)
class Point:
    id: str
    title: str
    url: str
    text: str
    score: float


class Qdrant:
    name = "Qdrant"
    problem: str | None = None

    def __init__(self, settings: Settings) -> None:
        self._name = settings.collection_name
        self._client = AsyncQdrantClient(
            url=settings.qdrant_url,
            port=effective_port(settings.qdrant_url),
            api_key=settings.qdrant_api_key.get_secret_value(),
            timeout=int(settings.qdrant_timeout),
            check_compatibility=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    def present_problem(self) -> str | None:
        return self.problem

    def expect(self, size: int) -> None:
        """The SDK finds the vector itself."""

    async def collection(self) -> Collection:
        found = await self._client.get_collection(self._name)
        return Collection(found.points_count or 0)

    async def search(self, vector: list[float], limit: int) -> list[Point]:
        found = await self._client.query_points(
            self._name, query=vector, limit=limit, with_payload=True
        )
        return [
            Point(str(point.id), given["title"], given["url"], given["text"], point.score)
            for point in found.points
            if (given := point.payload)
        ]
