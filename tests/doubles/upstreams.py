"""Stand-ins for Cohere's API v2 and Qdrant on one port, with faults that tests switch.

Cohere's responses have the shapes that its SDK parses; `qdrant_double.py` holds Qdrant's part.
`test_upstreams.py` proves both with the official SDKs.

Run: `uvicorn --app-dir tests doubles.upstreams:app --port 8080`. Control, for tests:
  PUT    /_control/fault   {"service": "cohere"|"qdrant", "kind": …, "times"?, "path"?, …}
  PUT    /_control/answer  {"text"?, "citations"?, "finish_reason"?, "delay_ms"?, "write_bytes"?}
  GET    /_control/calls   every call since the last reset
  DELETE /_control         clear faults, answer and calls; ?collections=1 empties Qdrant as well
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import re
import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from .control import HANG_SECONDS, Answer, calls, recorded, reset, set_answer, set_fault, state
from .qdrant_double import qdrant

# Lengths of the vectors. Source: docs.cohere.com/docs/cohere-embed
DIMENSIONS = {"embed-v4.0": 1536, "embed-english-light-v3.0": 384}
OTHER_DIMENSION = 1024
MOST_TEXTS = 96


def _refusal(status: int, message: str) -> Response:
    return JSONResponse({"id": "double", "message": message}, status)


def _cohere_refuses(call: dict[str, Any]) -> Response | None:
    if not (call["authorization"] or "").removeprefix("Bearer ").strip():
        return _refusal(401, "no api key supplied")
    if not isinstance(call["body"], dict):
        return _refusal(400, "invalid request: the body is not a JSON object")
    return None


async def embed(request: Request) -> Response:
    call, body, answer = await recorded(request, "cohere")
    if answer := answer or _cohere_refuses(call):
        return answer
    texts, kinds = body.get("texts") or [], body.get("embedding_types")
    if not texts or len(texts) > MOST_TEXTS:
        return _refusal(400, f"invalid request: total number of texts must be 1 to {MOST_TEXTS}")
    if body.get("input_type") not in ("search_document", "search_query"):
        return _refusal(400, "invalid request: input_type is required")
    if kinds != ["float"]:
        return _refusal(400, "invalid request: embedding_types must be [float] for this double")
    size = DIMENSIONS.get(body["model"], OTHER_DIMENSION)
    if wanted := body.get("output_dimension"):
        if "v3" in body["model"]:
            return _refusal(400, "invalid request: output_dimension is not supported by this model")
        size = wanted
    return JSONResponse(
        {
            "id": "double",
            "texts": texts,
            "embeddings": {"float": [vector(text, size) for text in texts]},
            "response_type": "embeddings_by_type",
            "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 1}},
        }
    )


def vector(text: str, size: int) -> list[float]:
    """A unit vector of hashed words; longer words weigh more. Texts that share words are near."""
    values = [0.0] * size
    for word in re.findall(r"[^\W_]{3,}", text.lower()):
        place = int.from_bytes(hashlib.blake2b(word[:6].encode(), digest_size=4).digest())
        values[place % size] += math.log(len(word))
    values[0] += 0.01
    length = math.sqrt(sum(value * value for value in values))
    return [value / length for value in values]


async def rerank(request: Request) -> Response:
    call, body, answer = await recorded(request, "cohere")
    if answer := answer or _cohere_refuses(call):
        return answer
    query = vector(body["query"], 512)
    scores = [
        sum(a * b for a, b in zip(query, vector(text, 512), strict=True))
        for text in body["documents"]
    ]
    order = sorted(range(len(scores)), key=lambda i: -scores[i])[: body.get("top_n", len(scores))]
    results = [{"index": i, "relevance_score": max(0.0, scores[i])} for i in order]
    return JSONResponse(
        {"id": "double", "results": results, "meta": {"api_version": {"version": "2"}}}
    )


async def chat(request: Request) -> Response:
    call, body, answer = await recorded(request, "cohere")
    if answer := answer or _cohere_refuses(call):
        return answer
    if not body.get("messages") or body["messages"][-1]["role"] != "user":
        return _refusal(400, "invalid request: the last message must be the user's")
    said = state.answer
    text, citations = _said(said, body.get("documents") or [])
    if body.get("stream"):
        frames = _stream(call, said, text, citations)
        return StreamingResponse(frames, media_type="text/event-stream")
    if said.delay_ms:
        await asyncio.sleep(said.delay_ms / 1000)
    message = {
        "role": "assistant",
        "content": [{"type": "text", "text": text}],
        "citations": citations,
    }
    return JSONResponse(
        {
            "id": "double",
            "message": message,
            "finish_reason": said.finish_reason,
            "usage": {"billed_units": {"input_tokens": 1, "output_tokens": 1}},
        }
    )


def _said(answer: Answer, documents: list[dict[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
    if answer.text is not None:
        return answer.text, [_citation(c, answer.text, documents) for c in answer.citations or []]
    text, spans = "", []
    for document in documents[:2]:
        start = len(text) + 1 if text else 0
        quote = " ".join(str(document["data"]["text"]).split())[:120]
        text = f"{text} {quote}" if text else quote
        spans.append({"start": start, "end": len(text), "sources": [document["id"]]})
    text = text or "I do not know."
    return text, [_citation(span, text, documents) for span in spans]


def _citation(span: dict[str, Any], text: str, documents: list[dict[str, Any]]) -> dict[str, Any]:
    data = {document["id"]: document["data"] for document in documents}
    sources = [
        {"type": "document", "id": i, "document": {"id": i, **data.get(i, {})}}
        for i in span["sources"]
    ]
    cited = text[span["start"] : span["end"]]
    return {**span, "text": cited, "sources": sources, "type": "TEXT_CONTENT"}


def _frame(kind: str, **rest: Any) -> bytes:
    data = json.dumps({"type": kind, **rest}, ensure_ascii=False)
    return f"event: {kind}\ndata: {data}\n\n".encode()


async def _stream(
    call: dict[str, Any], said: Answer, text: str, citations: list[dict[str, Any]]
) -> AsyncIterator[bytes]:
    """The events of an answer, word by word. Source: docs.cohere.com/docs/streaming"""
    fault = call["fault"]
    try:
        async for frame in _events(call, fault, said, text, citations):
            size = said.write_bytes or len(frame)
            for start in range(0, len(frame), size):
                yield frame[start : start + size]
                if said.write_bytes:
                    await asyncio.sleep(0)
        call["ended"] = time.time()
    except (asyncio.CancelledError, GeneratorExit):
        call["aborted"] = time.time()
        raise


async def _events(
    call: dict[str, Any], fault: str, said: Answer, text: str, citations: list[dict[str, Any]]
) -> AsyncIterator[bytes]:
    message = {"role": "assistant", "content": [], "tool_calls": [], "citations": []}
    yield _frame("message-start", id="double", delta={"message": message})
    content = {"type": "text", "text": ""}
    yield _frame("content-start", index=0, delta={"message": {"content": content}})
    sent, words = 0, re.findall(r"\S+\s*|\s+", text)
    for number, word in enumerate(words):
        if number == len(words) // 2:
            if fault == "malformed":
                yield b"event: content-delta\ndata: {not json\n\n"
            if fault == "cut":
                return
            if fault == "abort":
                raise RuntimeError("cut on purpose")
            if fault == "stall":
                await asyncio.sleep(HANG_SECONDS)
        if said.delay_ms:
            await asyncio.sleep(said.delay_ms / 1000)
        call.setdefault("first_token", time.time())
        yield _frame("content-delta", index=0, delta={"message": {"content": {"text": word}}})
        sent += len(word)
        call["sent"] = sent
        for index, citation in enumerate(citations):
            if sent - len(word) < citation["end"] <= sent:
                delta = {"message": {"citations": citation}}
                yield _frame("citation-start", index=index, delta=delta)
                yield _frame("citation-end", index=index)
    yield _frame("content-end", index=0)
    usage = {"billed_units": {"input_tokens": 1, "output_tokens": 1}}
    yield _frame(
        "message-end", id="double", delta={"finish_reason": said.finish_reason, "usage": usage}
    )


app = Starlette(
    routes=[
        Route("/_control", reset, methods=["DELETE"]),
        Route("/_control/fault", set_fault, methods=["PUT"]),
        Route("/_control/answer", set_answer, methods=["PUT"]),
        Route("/_control/calls", calls),
        Route("/v2/embed", embed, methods=["POST"]),
        Route("/v2/rerank", rerank, methods=["POST"]),
        Route("/v2/chat", chat, methods=["POST"]),
        Route("/collections/{name}", qdrant, methods=["GET", "PUT", "DELETE"]),
        Route("/collections/{name}/{rest:path}", qdrant, methods=["GET", "POST", "PUT"]),
    ]
)
