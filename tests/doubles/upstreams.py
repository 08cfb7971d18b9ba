"""Stand-ins for Cohere's API v2 and Qdrant on one port, with faults that can be switched.

Qdrant's answers come from qdrant-client's own local engine, so what a client sees is what the
service's authors defined; the shapes of Cohere's are those its SDK parses. `test_upstreams.py`
proves both with the official SDKs.

Run: `uvicorn upstreams:app --port 8080`. Control, for tests:
  PUT    /_control/fault   {"service": "cohere"|"qdrant", "kind": …, "times"?, "path"?, …}
  PUT    /_control/answer  {"text"?, "citations"?, "finish_reason"?, "delay_ms"?, "write_bytes"?}
  GET    /_control/calls   every call since the last reset
  DELETE /_control         no fault, stock answer, no calls; ?collections=1 empties Qdrant as well
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from qdrant_client import QdrantClient
from qdrant_client.http import models
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

# Lengths of the vectors. Source: docs.cohere.com/docs/cohere-embed
DIMENSIONS = {"embed-v4.0": 1536, "embed-english-light-v3.0": 384}
OTHER_DIMENSION = 1024
MOST_TEXTS = 96
HANG_SECONDS = 60.0
MARKED = "UPSTREAM-BODY-MARKER"


@dataclass
class Answer:
    """What the chat model says; without `text` it quotes the first two documents."""

    text: str | None = None
    citations: list[dict[str, Any]] | None = None
    finish_reason: str = "COMPLETE"
    delay_ms: float = 0
    write_bytes: int | None = None


@dataclass
class State:
    calls: list[dict[str, Any]] = field(default_factory=list)
    faults: dict[str, dict[str, Any]] = field(default_factory=dict)
    answer: Answer = field(default_factory=Answer)
    qdrant: QdrantClient = field(default_factory=lambda: QdrantClient(":memory:"))
    keyword_fields: dict[str, set[str]] = field(default_factory=dict)

    def fault_for(self, service: str, path: str) -> dict[str, Any]:
        """The fault that this call meets; one with `times` wears off."""
        fault = self.faults.get(service) or {}
        if not fault or fault.get("path", "") not in path:
            return {}
        if fault.get("after", 0) > 0:
            fault["after"] -= 1
            return {}
        if "times" in fault:
            fault["times"] -= 1
            if fault["times"] <= 0:
                del self.faults[service]
        return dict(fault)


state = State()


# --- control ---------------------------------------------------------------------------------


async def set_fault(request: Request) -> Response:
    given = await request.json()
    state.faults[given["service"]] = given
    return Response(status_code=204)


async def set_answer(request: Request) -> Response:
    state.answer = Answer(**await request.json())
    return Response(status_code=204)


async def calls(_: Request) -> Response:
    return JSONResponse(state.calls)


async def reset(request: Request) -> Response:
    global state
    old, state = state, State()
    if "collections" not in request.query_params:
        state.qdrant, state.keyword_fields = old.qdrant, old.keyword_fields
    return Response(status_code=204)


async def _recorded(request: Request, service: str) -> tuple[dict[str, Any], Any, Response | None]:
    """The call as recorded, its body, and the answer that a fault gives in the service's place."""
    raw = await request.body()
    try:
        body = json.loads(raw) if raw else None
    except ValueError:
        body = None
    call = {
        "service": service,
        "method": request.method,
        "path": request.url.path,
        "body": body,
        "authorization": request.headers.get("authorization"),
        "api_key": request.headers.get("api-key"),
        "time": time.time(),
    }
    state.calls.append(call)
    fault = state.fault_for(service, request.url.path)
    kind = str(fault.get("kind", ""))
    call["fault"] = kind
    if kind == "slow":
        await asyncio.sleep(fault.get("seconds", 1))
    if kind == "hang":
        await asyncio.sleep(HANG_SECONDS)
    if kind == "html":
        return call, body, Response(f"<html>{MARKED}</html>", media_type="text/html")
    if kind == "empty":
        return call, body, JSONResponse({})
    if kind == "drop":
        # Without a response the server answers 500 by itself and closes; the body is not JSON.
        raise RuntimeError("dropped on purpose")
    if kind.isdigit():
        headers = {"Retry-After": str(fault["retry_after"])} if "retry_after" in fault else {}
        return call, body, JSONResponse({"message": MARKED}, int(kind), headers=headers)
    return call, body, None


# --- Cohere ----------------------------------------------------------------------------------


def _refusal(status: int, message: str) -> Response:
    return JSONResponse({"id": "double", "message": message}, status)


def _cohere_refuses(call: dict[str, Any]) -> Response | None:
    if not (call["authorization"] or "").removeprefix("Bearer ").strip():
        return _refusal(401, "no api key supplied")
    if not isinstance(call["body"], dict):
        return _refusal(400, "invalid request: the body is not a JSON object")
    return None


async def embed(request: Request) -> Response:
    call, body, answer = await _recorded(request, "cohere")
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
    """A unit vector in which texts that share words are near: hashed words, longer ones heavier."""
    values = [0.0] * size
    for word in re.findall(r"[^\W_]{3,}", text.lower()):
        place = int.from_bytes(hashlib.blake2b(word[:6].encode(), digest_size=4).digest())
        values[place % size] += math.log(len(word))
    values[0] += 0.01
    length = math.sqrt(sum(value * value for value in values))
    return [value / length for value in values]


async def rerank(request: Request) -> Response:
    call, body, answer = await _recorded(request, "cohere")
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
    call, body, answer = await _recorded(request, "cohere")
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
    """The events of an answer, a word at a time. Source: docs.cohere.com/docs/streaming"""
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


# --- Qdrant ----------------------------------------------------------------------------------


def _qdrant_error(status: int, message: str) -> Response:
    return JSONResponse({"status": {"error": message}, "time": 0.0}, status)


def _qdrant_ok(result: Any) -> Response:
    if hasattr(result, "model_dump"):
        result = result.model_dump(mode="json", exclude_none=True)
    return JSONResponse({"result": result, "status": "ok", "time": 0.0})


async def qdrant(request: Request) -> Response:
    call, body, answer = await _recorded(request, "qdrant")
    if answer:
        return answer
    if not call["api_key"]:
        return _qdrant_error(403, "forbidden")
    try:
        return _qdrant_answer(
            request.method,
            request.path_params["name"],
            request.path_params.get("rest", ""),
            body or {},
        )
    except ValidationError as error:
        return _qdrant_error(400, f"Format error in JSON body: {error.error_count()} faults")
    except ValueError as error:
        missing = "not found" in str(error)
        return _qdrant_error(404 if missing else 400, str(error))


def _qdrant_answer(method: str, name: str, rest: str, body: dict[str, Any]) -> Response:
    engine, route = state.qdrant, f"{method} {rest}"
    if route == "PUT ":
        collection = models.CreateCollection.model_validate(body)
        if engine.collection_exists(name):
            return _qdrant_error(409, f"Wrong input: Collection `{name}` already exists!")
        engine.create_collection(name, vectors_config=collection.vectors)
        state.keyword_fields[name] = set()
        return _qdrant_ok(True)
    if route == "GET exists":
        return _qdrant_ok({"exists": engine.collection_exists(name)})
    info = engine.get_collection(name)
    if route == "GET ":
        # The local engine does not index, so the fields indexed are told from our own record.
        points = engine.count(name).count
        schema = {f: {"data_type": "keyword", "points": points} for f in state.keyword_fields[name]}
        shown = info.model_dump(mode="json", exclude_none=True)
        return _qdrant_ok({**shown, "points_count": points, "payload_schema": schema})
    if route == "DELETE ":
        return _qdrant_ok(engine.delete_collection(name))
    if route == "PUT index":
        state.keyword_fields[name].add(models.CreateFieldIndex.model_validate(body).field_name)
        return _done()
    if route == "PUT points":
        given = models.PointsList.model_validate(body).points
        _check_sizes(info, given)
        engine.upsert(name, given)
        return _done()
    if (filtered := body.get("filter")) and (answer := _strict(name, filtered)):
        return answer
    if route == "POST points/query":
        query = models.QueryRequest.model_validate(body)
        _check_query(info, query)
        found = engine.query_points(
            name,
            query=query.query,
            using=query.using,
            query_filter=query.filter,
            limit=query.limit or 10,
            offset=query.offset,
            with_payload=False if query.with_payload is None else query.with_payload,
            with_vectors=query.with_vector or False,
            score_threshold=query.score_threshold,
        )
        return _qdrant_ok(found)
    if route == "POST points/scroll":
        scroll = models.ScrollRequest.model_validate(body)
        records, offset = engine.scroll(
            name,
            scroll_filter=scroll.filter,
            limit=scroll.limit or 10,
            offset=scroll.offset,
            with_payload=True if scroll.with_payload is None else scroll.with_payload,
            with_vectors=scroll.with_vector or False,
        )
        dumped = [record.model_dump(mode="json", exclude_none=True) for record in records]
        return _qdrant_ok({"points": dumped, "next_page_offset": offset})
    if route == "POST points/count":
        count = models.CountRequest.model_validate(body)
        return _qdrant_ok(engine.count(name, count_filter=count.filter))
    if route == "POST points/delete":
        if "points" in body:
            selector: Any = models.PointIdsList.model_validate(body)
        else:
            selector = models.FilterSelector.model_validate(body)
        engine.delete(name, points_selector=selector)
        return _done()
    return _qdrant_error(404, "Not found")


def _done() -> Response:
    return _qdrant_ok({"operation_id": 0, "status": "completed"})


def _sizes(info: models.CollectionInfo) -> dict[str, int]:
    vectors = info.config.params.vectors
    if isinstance(vectors, models.VectorParams):
        return {"": vectors.size}
    return {name: params.size for name, params in (vectors or {}).items()}


def _check_sizes(info: models.CollectionInfo, points: list[models.PointStruct]) -> None:
    sizes = _sizes(info)
    for point in points:
        given = point.vector if isinstance(point.vector, dict) else {"": point.vector}
        for name, values in given.items():
            if name not in sizes:
                raise ValueError(f"Wrong input: Not existing vector name error: {name}")
            if isinstance(values, list):
                _check_size(sizes[name], len(values))


def _check_query(info: models.CollectionInfo, query: models.QueryRequest) -> None:
    sizes, name = _sizes(info), query.using or ""
    if name not in sizes:
        raise ValueError(f"Wrong input: Not existing vector name error: {name}")
    vector = getattr(query.query, "nearest", query.query)
    if isinstance(vector, list):
        _check_size(sizes[name], len(vector))


def _check_size(expected: int, got: int) -> None:
    if expected != got:
        raise ValueError(
            f"Wrong input: Vector dimension error: expected dim: {expected}, got {got}"
        )


def _strict(name: str, filtered: Any) -> Response | None:
    """Qdrant Cloud's strict mode. Source: qdrant.tech/documentation, "Strict mode"."""
    for key in re.findall(r'"key": ?"([^"]+)"', json.dumps(filtered)):
        if key not in state.keyword_fields[name]:
            return _qdrant_error(
                400,
                f'Bad request: Index required but not found for "{key}" of one of the following '
                "types: [keyword]. Help: Create an index for this key or use a different filter.",
            )
    return None


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
