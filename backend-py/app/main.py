"""The app as a server runs it: `uvicorn app.main:app`, or `python -m app` as in the image."""

import asyncio
import logging
import signal
from contextlib import AsyncExitStack
from types import FrameType
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app import VERSION, logs
from app.guard import Guard
from app.settings import Settings, effective_port, load_settings

# These load while the first probes are answered, so they are imported where they are used.
if TYPE_CHECKING:
    from app.metrics import Metrics
    from app.rag import Answerer

log = logging.getLogger("app")


def create_app(settings: Settings) -> ASGIApp:
    """The whole service for `settings`; it opens connections only when it starts."""
    logs.set_up(settings.log_level)
    drain = asyncio.Event()
    metrics = None
    if settings.metrics_token:
        from app.metrics import Metrics

        metrics = Metrics(settings.metrics_token)
    service = Service(settings, drain, metrics)
    probes = {"/health": service.health, "/ready": service.ready}
    return Guard(service, settings, drain, probes, metrics)


class Service:
    """Answers the probes as soon as the server listens; other requests wait for the API.

    Importing FastAPI and building its models is the slowest part of the start, so a thread does it
    while the server listens. A failure in the thread ends the process.
    """

    def __init__(self, settings: Settings, drain: asyncio.Event, metrics: "Metrics | None") -> None:
        self._settings = settings
        self._drain = drain
        self._metrics = metrics
        self._answerer: Answerer | None = None
        self._api: asyncio.Task[ASGIApp] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        assert self._api, "the server must run the lifespan"
        # Shielded: a client that disconnects must not cancel what other requests wait for.
        api = await asyncio.shield(self._api)
        await api(scope, receive, send)

    def health(self) -> Response:
        if self._answerer:
            services = self._answerer.services()
        else:
            state = "embedded" if self._settings.embedded else "connected"
            services = {"cohere": state, "qdrant": state}
        down = "disconnected" in services.values()
        return JSONResponse(
            {"status": "degraded" if down else "ok", "version": VERSION, "services": services},
            headers={"Cache-Control": "no-store"},
        )

    def ready(self) -> Response:
        reason = self._unready()
        body = {"ready": False, "reason": reason} if reason else {"ready": True}
        return JSONResponse(
            body, status_code=503 if reason else 200, headers={"Cache-Control": "no-store"}
        )

    def _unready(self) -> str | None:
        if self._drain.is_set():
            return "shutting_down"
        return self._answerer.unready() if self._answerer else "starting"

    async def _live(self, receive: Receive, send: Send) -> None:
        """From start to stop. Source: asgi.readthedocs.io, "Lifespan Protocol"."""
        await receive()
        _drain_on_sigterm(self._drain)
        log.info("started", extra={"data": _described(self._settings)})
        for warning in self._settings.warnings():
            log.warning(warning)
        async with AsyncExitStack() as running:
            self._api = asyncio.create_task(self._load(running))
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await asyncio.wait((self._api,))
        await send({"type": "lifespan.shutdown.complete"})

    async def _load(self, running: AsyncExitStack) -> ASGIApp:
        try:
            answerer, api = await asyncio.to_thread(self._build)
        except Exception:
            log.exception("cannot start")
            raise SystemExit(1) from None
        await running.enter_async_context(answerer.run())
        self._answerer = answerer
        return api

    def _build(self) -> "tuple[Answerer, ASGIApp]":
        from app.api import create_api
        from app.embedded import Index
        from app.encoder import packaged
        from app.rag import Answerer

        path = self._settings.index_path
        index = Index(path, packaged()) if path.is_file() else None
        answerer = Answerer(self._settings, index)
        return answerer, create_api(self._settings, answerer, index, self._drain, self._metrics)


def _drain_on_sigterm(drain: asyncio.Event) -> None:
    """Sets `drain` on SIGTERM, then calls the server's own handler.

    uvicorn runs the lifespan's shutdown only after every stream has ended. That is too late to end
    an open stream.
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
        log.debug("not the main thread: SIGTERM is not handled")


def _described(settings: Settings) -> dict[str, object]:
    facts: dict[str, object] = {"version": VERSION, "mode": settings.rag_mode}
    if not settings.embedded:
        facts["qdrant_port"] = effective_port(settings.qdrant_url)
        facts["cohere_port"] = effective_port(settings.cohere_base_url)
    return facts


app = create_app(load_settings())
