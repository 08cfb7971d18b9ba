"""The edge of the app: everything every request passes, the error envelope, the event stream."""

import asyncio
import json
import logging
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.logs import write_request
from app.settings import Settings

log = logging.getLogger("app.http")

BODY_SECONDS = 10.0
PING_SECONDS = 15.0
# Whoever comes later is told at once to try again, instead of waiting ever longer with all others.
LONGEST_LINE = 0.25
PREFLIGHT = [
    (b"access-control-allow-methods", b"GET, HEAD, POST"),
    (b"access-control-allow-headers", b"Authorization, Content-Type"),
    (b"access-control-max-age", b"600"),
]
LIMITED = ("/chat", "/chat/stream", "/search", "/feedback")


class ApiError(Exception):
    """An answer other than 200: `retry_after` is in seconds."""

    def __init__(
        self, status: int, code: str, message: str, retry_after: float | None = None
    ) -> None:
        super().__init__(code)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after


def error_response(
    status: int,
    code: str,
    message: str,
    *,
    fields: list[dict[str, str]] | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """The envelope of every error: {"error": {"code", "message", "fields"?}}."""
    error: dict[str, object] = {"code": code, "message": message}
    if fields:
        error["fields"] = fields
    return Response(
        json.dumps({"error": error}), status, headers=headers, media_type="application/json"
    )


def bug_response() -> Response:
    return error_response(500, "internal", "Something failed inside the service.")


class RateLimit:
    """A token bucket per key: `per_minute` at once, refilled evenly; 0 is no limit."""

    MOST_KEYS = 10_000

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str = "") -> float:
        """Takes one; 0 when that was allowed, else the seconds until it will be."""
        if not self._per_minute:
            return 0.0
        now = time.monotonic()
        tokens, seen = self._buckets.pop(key, (float(self._per_minute), now))
        tokens = min(self._per_minute, tokens + (now - seen) * self._per_minute / 60)
        allowed = tokens >= 1
        self._buckets[key] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > self.MOST_KEYS:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - tokens) * 60 / self._per_minute


class Line:
    """The requests that wait for the event loop, which makes one answer after the other."""

    def __init__(self) -> None:
        self._began = 0.0

    def is_long(self) -> bool:
        """Whether this round of the loop already takes too long for one more answer."""
        now = time.monotonic()
        if not self._began:
            self._began = now
            asyncio.get_running_loop().call_soon(self._come_round)
        return now - self._began > LONGEST_LINE

    def _come_round(self) -> None:
        self._began = 0.0


class Guard:
    """Pure ASGI, outermost: request id, CORS, body cap, origins, rate limit, JSON 500, log line.

    It answers the probes itself: on the way through FastAPI they would cost twice as much.

    CORS is done here and not by CORSMiddleware because that one sends Allow-Credentials to
    origins it refuses, and FastAPI's own 500 and 413 would leave without the headers.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        drain: asyncio.Event,
        probes: dict[str, Callable[[], Response]],
    ) -> None:
        self._app = app
        self._probes = probes
        self._drain = drain
        self._origins = {origin.encode(): origin for origin in settings.cors_origins}
        self._max_body = settings.max_body_bytes
        self._hops = settings.trusted_proxy_hops
        self._limit = RateLimit(settings.rate_per_minute)
        self._line = Line()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = secrets.token_hex(8)
        headers: dict[bytes, bytes] = dict(scope["headers"])
        origin = headers.get(b"origin")
        extra = [
            (b"x-request-id", request_id.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"vary", b"Origin"),
        ]
        if origin in self._origins:
            extra += [
                (b"access-control-allow-origin", origin),
                (b"access-control-allow-credentials", b"true"),
                (b"access-control-expose-headers", b"X-Request-ID, Retry-After"),
            ]
        status = 0

        async def send_extra(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *extra]
            await send(message)

        scope["state"]["request_id"] = request_id
        try:
            await self._serve(scope, receive, send_extra, headers, origin)
        except Exception:
            log.exception("request failed", extra={"data": {"request_id": request_id}})
            if not status:
                await bug_response()(scope, receive, send_extra)
        finally:
            if log.isEnabledFor(logging.INFO):
                seconds = time.perf_counter() - started
                more = scope["state"].get("log", {})
                write_request(request_id, scope["method"], scope["path"], status, seconds, **more)

    async def _serve(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        headers: dict[bytes, bytes],
        origin: bytes | None,
    ) -> None:
        method = scope["method"]
        if method in ("GET", "HEAD"):
            probe = self._probes.get(scope["path"])
            await (probe() if probe else self._app)(scope, receive, send)
            return
        refusal: Response | None = None
        if method == "OPTIONS" and origin and b"access-control-request-method" in headers:
            if origin in self._origins:
                refusal = Response(status_code=204)
                refusal.raw_headers += PREFLIGHT
            else:
                refusal = _origin_refused()
        elif method == "POST":
            refusal = self._refuse_post(scope, headers, origin)
        if refusal is None:
            body = await self._read_body(receive, headers)
            if isinstance(body, bytes):
                await self._app(scope, _replay(body, receive), send)
                return
            refusal = body
        await refusal(scope, receive, send)

    def _refuse_post(
        self, scope: Scope, headers: dict[bytes, bytes], origin: bytes | None
    ) -> Response | None:
        if origin and origin not in self._origins and not _same_origin(origin, headers):
            return _origin_refused()
        if self._drain.is_set():
            return error_response(
                503, "shutting_down", "The service is restarting.", headers={"Retry-After": "5"}
            )
        if self._line.is_long():
            return error_response(
                503, "busy", "Too many requests at once; try again.", headers={"Retry-After": "1"}
            )
        if scope["path"] in LIMITED and (wait := self._limit.take(self._client(scope, headers))):
            return error_response(
                429,
                "rate_limited",
                "Too many requests from your address.",
                headers={"Retry-After": str(max(1, math.ceil(wait)))},
            )
        return None

    def _client(self, scope: Scope, headers: dict[bytes, bytes]) -> str:
        """The client's address: the Nth entry from the right of X-Forwarded-For.

        The entries to its left are whatever the client sent. Source: MDN, X-Forwarded-For,
        "Security and privacy concerns".
        """
        entries = headers.get(b"x-forwarded-for", b"").decode("latin-1").split(",")
        if self._hops and len(entries) >= self._hops and entries[-self._hops].strip():
            return entries[-self._hops].strip()
        return scope["client"][0] if scope.get("client") else ""

    async def _read_body(self, receive: Receive, headers: dict[bytes, bytes]) -> bytes | Response:
        """The whole body, or the refusal: without a cap or a deadline one client could hold us."""
        too_large = error_response(
            413,
            "body_too_large",
            f"The body is larger than {self._max_body} bytes.",
            headers={"Connection": "close"},
        )
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_body:
            return too_large
        body: bytes = b""
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while True:
                    message = await receive()
                    body += message.get("body", b"")
                    if len(body) > self._max_body:
                        return too_large
                    if not message.get("more_body"):
                        return body
        except TimeoutError:
            return error_response(
                408, "request_timeout", "The body took too long.", headers={"Connection": "close"}
            )


def _replay(body: bytes, receive: Receive) -> Receive:
    done = False

    async def replay() -> Message:
        nonlocal done
        if done:
            return await receive()
        done = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _same_origin(origin: bytes, headers: dict[bytes, bytes]) -> bool:
    # The scheme is not compared: TLS ends at the Hub's edge.
    return urlsplit(origin.decode("latin-1")).netloc == headers.get(b"host", b"").decode("latin-1")


def _origin_refused() -> Response:
    return error_response(
        403, "origin_not_allowed", "This origin may not call the service from a browser."
    )


def event(name: str, data: dict[str, Any]) -> bytes:
    """One server-sent event. JSON keeps line breaks of the text out of the framing."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


class EventStream(Response):
    """Server-sent events from a generator of frames, which it owns.

    At the end, whatever the end is, it closes the generator and calls `release`: a generator that
    was never started would not run its own clean-up.

    A ping keeps proxies from closing a silent stream; draining ends it with an error event, for
    the server itself waits for open streams. A slow reader holds back the generator, so nothing
    piles up. `fastapi.sse` is not used: it logs a traceback for most aborts by the client.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        frames: AsyncGenerator[bytes, None],
        release: Callable[[], Awaitable[None]],
        drain: asyncio.Event,
    ) -> None:
        super().__init__(headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._frames = frames
        self._release = release
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(_disconnected(receive))
        draining = asyncio.ensure_future(self._drain.wait())
        frame: asyncio.Future[bytes] | None = None
        failed: BaseException | None = None
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            while True:
                frame = frame or asyncio.ensure_future(anext(self._frames, b""))
                await asyncio.wait(
                    (frame, gone, draining),
                    timeout=PING_SECONDS,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if gone.done():
                    scope["state"].setdefault("log", {})["client_gone"] = True
                    return
                if frame.done():
                    if failed := frame.exception():
                        # Proxies may show a cut connection as a whole answer.
                        log.error("stream failed", exc_info=failed)
                        chunk = event("error", {"code": "internal", "retryable": False})
                    elif not (chunk := frame.result()):
                        break
                    frame = None
                elif draining.done():
                    chunk = event("error", {"code": "shutting_down", "retryable": True})
                else:
                    chunk = b": ping\n\n"
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                if failed or (frame and draining.done()):
                    break
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            for task in (gone, draining, frame):
                if task:
                    task.cancel()
            if frame:
                await asyncio.wait((frame,))
            await self._frames.aclose()
            await self._release()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
