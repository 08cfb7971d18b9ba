"""Server-sent events. Source: html.spec.whatwg.org, "Server-sent events"."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.schemas import Citation, Delta, Done, Event, Failure, Meta, Sources

log = logging.getLogger("app.sse")

PING_SECONDS = 15.0
NAMES: dict[type[Event], str] = {
    Meta: "meta",
    Sources: "sources",
    Delta: "delta",
    Citation: "citation",
    Done: "done",
    Failure: "error",
}


def frame(event: Event) -> bytes:
    """One server-sent event. JSON escapes line breaks, which would break the framing."""
    return f"event: {NAMES[type(event)]}\ndata: {json.dumps(event.model_dump())}\n\n".encode()


class EventStream(Response):
    """Server-sent events from a generator, which it owns.

    However the stream ends, it closes the generator and calls `release`: a generator that never
    started does not run its own clean-up.

    A ping keeps proxies from closing a silent stream. Draining ends the stream with an error event,
    because the server waits for open streams. A slow client holds back the generator, so no data
    accumulates. `fastapi.sse` is not used: it logs a traceback for most aborts by the client.
    sse-starlette is not used: a drain or a bug in the generator cuts it without a last event.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncGenerator[Event, None],
        release: Callable[[], Awaitable[None]],
        drain: asyncio.Event,
        encode: Callable[[Event], bytes] = frame,
    ) -> None:
        super().__init__(headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._events = events
        self._release = release
        self._drain = drain
        self._encode = encode

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(_disconnected(receive))
        draining = asyncio.ensure_future(self._drain.wait())
        coming: asyncio.Future[Event | None] | None = None
        failed: BaseException | None = None
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            while True:
                coming = coming or asyncio.ensure_future(anext(self._events, None))
                await asyncio.wait(
                    (coming, gone, draining),
                    timeout=PING_SECONDS,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if gone.done():
                    scope["state"].setdefault("log", {})["client_gone"] = True
                    return
                if coming.done():
                    if failed := coming.exception():
                        # Without an error event, proxies may pass on a cut stream as complete.
                        log.error("stream failed", exc_info=failed)
                        chunk = self._encode(Failure(code="internal", retryable=False))
                    elif event := coming.result():
                        chunk = self._encode(event)
                    else:
                        break
                    coming = None
                elif draining.done():
                    chunk = self._encode(Failure(code="shutting_down", retryable=True))
                else:
                    chunk = b": ping\n\n"
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                if failed or (coming and draining.done()):
                    break
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            for task in (gone, draining, coming):
                if task:
                    task.cancel()
            if coming:
                await asyncio.wait((coming,))
            await self._events.aclose()
            await self._release()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
