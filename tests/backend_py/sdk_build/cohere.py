"""Cohere through its SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Self

from app.errors import ApiError
from app.schemas import Citation, Delta, End
from app.settings import Settings
from cohere import AsyncClientV2


class Completion:
    def __init__(self, text: str, citations: list[Citation]) -> None:
        self.text, self.citations = text, citations


class Cohere:
    name = "Cohere"
    problem: str | None = None

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client = AsyncClientV2(
            api_key=settings.cohere_api_key.get_secret_value(),
            base_url=settings.cohere_base_url,
            timeout=settings.upstream_timeout,
            max_retries=0,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def present_problem(self) -> str | None:
        return self.problem

    def failure(self, status: int, code: str) -> ApiError:
        return ApiError(status, code, "Cohere failed.")

    async def embed(self, texts: list[str], *, documents: bool) -> list[list[float]]:
        answer = await self._client.embed(
            model=self._settings.embed_model,
            texts=texts,
            input_type="search_document" if documents else "search_query",
            embedding_types=["float"],
        )
        return answer.embeddings.float_ or []

    async def rerank(self, query: str, texts: list[str], top_n: int) -> list[int]:
        answer = await self._client.rerank(
            model=self._settings.rerank_model or "", query=query, documents=texts, top_n=top_n
        )
        return [result.index for result in answer.results]

    async def chat(self, messages: list[Any], documents: list[Any]) -> Completion:
        answer = await self._client.chat(
            model=self._settings.chat_model,
            messages=messages,
            documents=documents,
            temperature=0.2,
        )
        text = "".join(part.text for part in answer.message.content or () if part.type == "text")
        return Completion(text, [_citation(given) for given in answer.message.citations or ()])

    async def open_chat(self, messages: list[Any], documents: list[Any]) -> Any:
        return self._client.chat_stream(
            model=self._settings.chat_model,
            messages=messages,
            documents=documents,
            temperature=0.2,
        )

    async def events(self, stream: Any) -> AsyncIterator[Delta | Citation | End]:
        async for event in stream:
            if event.type == "content-delta":
                yield Delta(text=event.delta.message.content.text)
            elif event.type == "citation-start":
                yield _citation(event.delta.message.citations)
            elif event.type == "message-end":
                yield End(finish_reason=str(event.delta.finish_reason))


def _citation(given: Any) -> Citation:
    sources = [str(source.id) for source in given.sources or ()]
    return Citation(start=given.start, end=given.end, sources=sources)
