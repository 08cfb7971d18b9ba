"""The state that the stand-ins share: switched faults, the chat model's answer, recorded calls.

`upstreams.py` documents the control routes.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

from qdrant_client import QdrantClient
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

HANG_SECONDS = 60.0
MARKED = "UPSTREAM-BODY-MARKER"


@dataclass
class Answer:
    """What the chat model answers; without `text` it quotes the first two documents."""

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
        """The fault for this call. A fault with `after` or `times` skips or ends after so many calls."""
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
    state.calls, state.faults, state.answer = [], {}, Answer()
    if "collections" in request.query_params:
        state.qdrant, state.keyword_fields = QdrantClient(":memory:"), {}
    return Response(status_code=204)


async def recorded(request: Request, service: str) -> tuple[dict[str, Any], Any, Response | None]:
    """Record a call. Returns the record, the body, and the response of a switched fault, if any."""
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
