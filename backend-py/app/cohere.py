"""Cohere's API v2 over REST. Source: docs.cohere.com/reference, "v2/embed", "v2/chat", "v2/rerank".

The SDK is not used: its dependencies would triple the image, its retries sleep up to a minute
inside a request, and it treats a cut stream as a complete one.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx2

from app.schemas import Citation, Delta, End
from app.settings import Settings
from app.upstream import UNREADABLE, Upstream

# The most texts that one call may embed. Source: docs.cohere.com/reference/embed
EMBED_BATCH = 96


@dataclass
class Completion:
    text: str
    finish_reason: str
    citations: list[Citation] = field(default_factory=list)


class Cohere(Upstream):
    """Embeds, answers and reranks; every method raises UpstreamError."""

    def __init__(self, settings: Settings) -> None:
        key = settings.cohere_api_key.get_secret_value()
        super().__init__(
            "Cohere",
            settings.cohere_base_url,
            {"Authorization": f"Bearer {key}"},
            seconds=settings.upstream_timeout,
            connect=3,
        )
        self._settings = settings

    async def embed(self, texts: list[str], *, documents: bool) -> list[list[float]]:
        """One vector per text. Questions and documents are embedded differently by design."""
        body: dict[str, object] = {
            "model": self._settings.embed_model,
            "texts": texts,
            "input_type": "search_document" if documents else "search_query",
            "embedding_types": ["float"],
        }
        if self._settings.embed_dimension:
            body["output_dimension"] = self._settings.embed_dimension
        answer = await self.json("POST", "/v2/embed", body)
        try:
            vectors = answer["embeddings"]["float"]
            if len(vectors) == len(texts) and all(isinstance(v, list) and v for v in vectors):
                return list(vectors)
        except UNREADABLE:
            pass
        raise self.failure(502, "upstream_bad_response")

    async def rerank(self, query: str, texts: list[str], top_n: int) -> list[int]:
        """Positions in `texts` of the best `top_n`, best first."""
        body = {
            "model": self._settings.rerank_model,
            "query": query,
            "documents": texts,
            "top_n": min(top_n, len(texts)),
        }
        answer = await self.json("POST", "/v2/rerank", body)
        try:
            order = [int(result["index"]) for result in answer["results"]]
            if all(0 <= position < len(texts) for position in order):
                return order
        except UNREADABLE:
            pass
        raise self.failure(502, "upstream_bad_response")

    async def chat(
        self, messages: list[dict[str, str]], documents: list[dict[str, object]]
    ) -> Completion:
        answer = await self.json("POST", "/v2/chat", self._chat_body(messages, documents, False))
        try:
            message = answer["message"]
            text = "".join(part["text"] for part in message["content"] if part["type"] == "text")
            citations = [c for given in message.get("citations") or () if (c := _citation(given))]
            completion = Completion(text, str(answer["finish_reason"]), citations)
        except UNREADABLE:
            raise self.failure(502, "upstream_bad_response") from None
        if not text or completion.finish_reason in ("ERROR", "TIMEOUT"):
            raise self.failure(502, "upstream_bad_response")
        return completion

    async def open_chat(
        self, messages: list[dict[str, str]], documents: list[dict[str, object]]
    ) -> httpx2.Response:
        """The open answer stream; the caller reads it with `events` and closes it."""
        return await self.stream("/v2/chat", self._chat_body(messages, documents, True))

    async def events(self, response: httpx2.Response) -> AsyncIterator[Delta | Citation | End]:
        """The events of the stream up to End; raises UpstreamError if it is cut or malformed."""
        try:
            async for data in _data_lines(response):
                given = json.loads(data)
                kind, message = given["type"], (given.get("delta") or {}).get("message") or {}
                if kind == "content-delta":
                    if text := message["content"].get("text"):
                        yield Delta(text=str(text))
                elif kind == "citation-start":
                    if citation := _citation(message["citations"]):
                        yield citation
                elif kind == "message-end":
                    reason = str(given["delta"]["finish_reason"])
                    if reason in ("ERROR", "TIMEOUT"):
                        raise self.failure(502, "upstream_error")
                    self.succeeded()
                    yield End(finish_reason=reason)
                    return
        except UNREADABLE:
            raise self.failure(502, "upstream_bad_response") from None
        except (httpx2.HTTPError, TimeoutError) as error:
            raise self.failed(error) from None
        raise self.failure(502, "upstream_truncated")

    def _chat_body(
        self, messages: list[dict[str, str]], documents: list[dict[str, object]], stream: bool
    ) -> dict[str, object]:
        return {
            "model": self._settings.chat_model,
            "messages": messages,
            "documents": documents,
            "stream": stream,
            "temperature": 0.2,
        }


def _citation(given: dict[str, Any]) -> Citation | None:
    sources = [str(s["id"]) for s in given.get("sources") or () if s.get("id") is not None]
    start, end = int(given["start"]), int(given["end"])
    return Citation(start=start, end=end, sources=sources) if sources and 0 <= start < end else None


async def _data_lines(response: httpx2.Response) -> AsyncIterator[bytes]:
    """The data of each event. Lines are split only at line feeds: the client's line iterator would
    also split at U+2028, which is legal inside JSON."""
    rest = b""
    async for chunk in response.aiter_bytes():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                data = line[5:].strip()
                if data and data != b"[DONE]":
                    yield data
