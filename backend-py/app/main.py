"""The app: `uvicorn app.main:app`, or `python -m app` as in the image."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hmac import compare_digest
from types import FrameType
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from app import VERSION, http, logs, pages
from app.embedded import Index
from app.feedback import Feedback
from app.rag import Answerer
from app.schemas import (
    ChatRequest,
    ChatResponse,
    ErrorResponse,
    FeedbackList,
    FeedbackRequest,
    SearchRequest,
    SearchResponse,
)
from app.settings import Settings, effective_port, load_settings

log = logging.getLogger("app")

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorResponse, "description": text}
    for status, text in {
        400: "The body could not be parsed.",
        403: "The origin may not call from a browser.",
        413: "The body is too large.",
        422: "The request does not fit the schema.",
        429: "Too many requests; see Retry-After.",
        502: "An upstream refused or answered nonsense.",
        503: "An upstream is unavailable or the service is restarting; see Retry-After.",
        504: "An upstream took too long.",
    }.items()
}

NOT_FOUND = {"model": ErrorResponse, "description": "No recent answer has this id."}
UNAUTHORIZED = {"model": ErrorResponse, "description": "The bearer token is not the owner's."}
OWNER = HTTPBearer(auto_error=False)
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


def create_app(settings: Settings) -> ASGIApp:
    """The whole service for `settings`; opens no connection before it is started."""
    logs.set_up(settings.log_level)
    drain = asyncio.Event()
    index = Index(settings.index_path) if settings.index_path.is_file() else None
    answerer = Answerer(settings, index)
    feedback = Feedback(settings.feedback_path)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        _drain_on_sigterm(drain)
        log.info("started", extra={"data": _described(settings)})
        for warning in settings.warnings():
            log.warning(warning)
        async with answerer.run():
            yield

    api = FastAPI(
        title="Book answers",
        version=VERSION,
        description="Questions about a book, answered with citations.",
        lifespan=lifespan,
        responses=ERRORS,
        redirect_slashes=False,
        # A stray OTEL variable must not stop the start.
        telemetry={"auto_configure": False},
        exception_handlers={
            http.ApiError: http.on_api_error,
            HTTPException: http.on_http_error,
            RequestValidationError: http.on_validation_error,
            Exception: http.on_bug,
        },
    )

    def health() -> Response:
        services = answerer.services()
        down = "disconnected" in services.values()
        return JSONResponse(
            {"status": "degraded" if down else "ok", "version": VERSION, "services": services},
            headers={"Cache-Control": "no-store"},
        )

    def ready() -> Response:
        reason = "shutting_down" if drain.is_set() else answerer.unready()
        body = {"ready": False, "reason": reason} if reason else {"ready": True}
        return JSONResponse(
            body, status_code=503 if reason else 200, headers={"Cache-Control": "no-store"}
        )

    probes = {"/health": health, "/ready": ready}
    for path in probes:
        # For the other methods' 405; the guard answers GET and HEAD.
        api.add_route(path, _unreached)
    for path, page in pages.routes(index):
        api.add_route(path, page, include_in_schema=False)

    @api.post("/chat", response_model=ChatResponse)
    async def chat(request: ChatRequest) -> Response:
        return _json(await answerer.answer(request))

    @api.post(
        "/chat/stream",
        status_code=200,
        responses={200: {"content": {"text/event-stream": EVENT}, "description": EVENTS}},
        response_class=Response,
    )
    async def chat_stream(request: ChatRequest) -> Response:
        stream = await answerer.stream(request)
        return http.EventStream(stream.frames, stream.aclose, drain)

    @api.post("/search", response_model=SearchResponse)
    async def search(request: SearchRequest) -> Response:
        return _json(await answerer.search(request.query, request.top_k))

    @api.post("/feedback", responses={404: NOT_FOUND}, status_code=204)
    async def rate(request: FeedbackRequest) -> Response:
        known = answerer.issued(request.id)
        if known is None:
            raise http.ApiError(404, "unknown_answer", "No recent answer has this id.")
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

    return http.Guard(api, settings, drain, probes)


async def _unreached(_: Request) -> Response:
    raise HTTPException(404)


def _json(model: BaseModel) -> Response:
    return Response(model.model_dump_json(), media_type="application/json")


def _drain_on_sigterm(drain: asyncio.Event) -> None:
    """Sets `drain` on SIGTERM, then does what the server had planned.

    uvicorn runs the lifespan's shutdown only after every stream has ended, so waiting for that
    would never end an open one.
    """
    before = signal.getsignal(signal.SIGTERM)
    loop = asyncio.get_running_loop()

    def on_signal(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(drain.set)
        if callable(before):
            before(number, frame)

    try:
        signal.signal(signal.SIGTERM, on_signal)
    except ValueError:
        log.debug("not the main thread: SIGTERM is not watched")


def _described(settings: Settings) -> dict[str, object]:
    facts: dict[str, object] = {"version": VERSION, "mode": settings.rag_mode}
    if not settings.embedded:
        facts["qdrant_port"] = effective_port(settings.qdrant_url)
        facts["cohere_port"] = effective_port(settings.cohere_base_url)
    return facts


app = create_app(load_settings())
