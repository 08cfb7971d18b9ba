"""The endpoints, their schema and the errors that FastAPI raises."""

import asyncio
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from hmac import compare_digest
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from app import VERSION, pages
from app.completions import Chunks, CompletionRequest, completion, models, to_chat_request
from app.embedded import Index
from app.errors import ApiError, bug_response, error_response
from app.feedback import Feedback
from app.metrics import Metrics
from app.rag import Answerer
from app.schemas import (
    ChatRequest,
    ChatResponse,
    ErrorResponse,
    Event,
    FeedbackList,
    FeedbackRequest,
    Meta,
    SearchRequest,
    SearchResponse,
)
from app.settings import Settings
from app.sse import EventStream, frame

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorResponse, "description": text}
    for status, text in {
        400: "The body could not be parsed.",
        403: "The origin may not call from a browser.",
        413: "The body is too large.",
        422: "The request does not fit the schema.",
        429: "Too many requests; see Retry-After.",
        502: "An upstream refused the call or sent an invalid answer.",
        503: "An upstream is unavailable, or the service restarts or is busy; see Retry-After.",
        504: "An upstream took too long.",
    }.items()
}
NOT_FOUND = {"model": ErrorResponse, "description": "No recent answer has this id."}
UNAUTHORIZED = {"model": ErrorResponse, "description": "The bearer token is missing or invalid."}
OWNER = HTTPBearer(auto_error=False)
COMPLETION: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "OpenAI's chat.completion, or its chunks with `stream`, extended by `book`.",
        "content": {"application/json": {}, "text/event-stream": {}},
    }
}
EVENT = {
    "schema": {
        "type": "object",
        "required": ["event", "data"],
        "properties": {
            "event": {"enum": ["meta", "sources", "delta", "citation", "done", "error"]},
            "data": {"type": "string", "contentMediaType": "application/json"},
        },
    }
}
EVENTS = (
    "Server-sent events: meta {id, mode, degraded}, sources {sources}, delta {text}, "
    "citation {start, end, sources}, and last either done {grounded, finish_reason} or "
    "error {code, retryable}."
)
CODES = {
    400: "bad_request",
    401: "unauthorized",
    404: "not_found",
    405: "method_not_allowed",
}


def create_api(
    settings: Settings,
    answerer: Answerer,
    index: Index | None,
    drain: asyncio.Event,
    metrics: Metrics | None,
) -> ASGIApp:
    """All endpoints but the probes, which main.py answers."""
    feedback = Feedback(settings.feedback_path)
    api = FastAPI(
        title="Book answers",
        version=VERSION,
        description="Questions about a book, answered with citations.",
        responses=ERRORS,
        redirect_slashes=False,
        # Both would load their scripts from a CDN.
        docs_url=None,
        redoc_url=None,
        # A stray OTEL variable must not stop the start.
        telemetry={"auto_configure": False},
        exception_handlers={
            ApiError: _on_api_error,
            HTTPException: _on_http_error,
            RequestValidationError: _on_validation_error,
            Exception: _on_bug,
        },
    )
    for path in ("/health", "/ready"):
        # Gives other methods their 405; the guard answers GET and HEAD.
        api.add_route(path, _unreached)
    api.routes.extend(pages.routes(index))

    async def answer(request: ChatRequest) -> ChatResponse:
        given = await answerer.answer(request)
        if metrics:
            metrics.answered(given.mode, degraded=given.degraded)
        return given

    async def stream(request: ChatRequest, encode: Callable[[Event], bytes] = frame) -> EventStream:
        given = await answerer.stream(request)
        events = _counted(given.events, metrics) if metrics else given.events
        return EventStream(events, given.aclose, drain, encode)

    @api.post("/chat", response_model=ChatResponse)
    async def chat(request: ChatRequest) -> Response:
        return _json(await answer(request))

    @api.post(
        "/chat/stream",
        status_code=200,
        responses={200: {"content": {"text/event-stream": EVENT}, "description": EVENTS}},
        response_class=Response,
    )
    async def chat_stream(request: ChatRequest) -> Response:
        return await stream(request)

    @api.post("/v1/chat/completions", responses=COMPLETION, response_class=Response)
    async def chat_completions(request: CompletionRequest) -> Response:
        question = to_chat_request(request)
        if request.stream:
            return await stream(question, Chunks())
        return completion(await answer(question))

    @api.get("/v1/models", response_class=Response)
    async def list_models() -> Response:
        return models()

    @api.post("/search", response_model=SearchResponse)
    async def search(request: SearchRequest) -> Response:
        return _json(await answerer.search(request.query, request.top_k))

    @api.post("/feedback", responses={404: NOT_FOUND}, status_code=204)
    async def rate(request: FeedbackRequest) -> Response:
        known = answerer.issued(request.id)
        if known is None:
            raise ApiError(404, "unknown_answer", "No recent answer has this id.")
        feedback.add(request.id, request.rating, request.comment, *known)
        return Response(status_code=204)

    @api.get("/feedback", responses={401: UNAUTHORIZED}, response_model=FeedbackList)
    async def ratings(
        token: Annotated[HTTPAuthorizationCredentials | None, Depends(OWNER)],
        after: Annotated[int, Query(ge=0, le=2**53)] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> Response:
        expected = settings.feedback_token
        given = token.credentials if token else ""
        if not expected or not compare_digest(given.encode(), expected.get_secret_value().encode()):
            raise HTTPException(
                401, "Send the FEEDBACK_TOKEN as a bearer token.", {"WWW-Authenticate": "Bearer"}
            )
        return _json(FeedbackList(entries=feedback.entries(after, limit)))

    if metrics:

        async def exposition(request: Request) -> Response:
            if not metrics.may_read(request.headers.get("authorization", "")):
                raise HTTPException(404)
            text, content_type = metrics.render()
            return Response(text, headers={"Content-Type": content_type})

        api.add_route("/metrics", exposition)
    return api


async def _counted(
    events: AsyncGenerator[Event, None], metrics: Metrics
) -> AsyncGenerator[Event, None]:
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Meta):
                metrics.answered(event.mode, degraded=event.degraded)
            yield event


def _json(model: BaseModel) -> Response:
    return Response(model.model_dump_json(), media_type="application/json")


async def _unreached(_: Request) -> Response:
    raise HTTPException(404)


async def _on_api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    headers = None
    if error.retry_after is not None:
        headers = {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
    return error_response(error.status, error.code, error.message, headers=headers)


async def _on_http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers) if error.headers else None
    code = CODES.get(error.status_code, "error")
    return error_response(error.status_code, code, error.detail, headers=headers)


async def _on_validation_error(_: Request, error: Exception) -> Response:
    """422 with the field and the rule of each fault, without the values that the client sent."""
    assert isinstance(error, RequestValidationError)
    fields = []
    for fault in error.errors():
        place = [str(part) for part in fault["loc"][1:]]
        if fault["type"] == "extra_forbidden":
            place[-1] = "(unknown field)"
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "json_invalid":
            place, message = [], "not valid JSON"
        fields.append({"field": ".".join(place) or "body", "message": message})
    return error_response(
        422, "invalid_request", "The request does not fit the schema.", fields=fields[:20]
    )


async def _on_bug(_: Request, __: Exception) -> Response:
    return bug_response()
