"""Checks every request before the app and adds headers to every response."""

import asyncio
import contextlib
import logging
import math
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import bug_response, error_response
from app.limits import LINGER_SECONDS, Line, RateLimit, client_key
from app.logs import new_request_id, write_request
from app.settings import Settings

if TYPE_CHECKING:
    from app.metrics import Metrics

log = logging.getLogger("app.guard")

BODY_SECONDS = 10.0
# Ids of callers that are safe in a header and in the log.
REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")
EXPOSED = b"X-Request-ID, Retry-After, RateLimit, RateLimit-Policy"
PREFLIGHT = [
    (b"access-control-allow-methods", b"GET, HEAD, POST"),
    (b"access-control-allow-headers", b"Authorization, Content-Type, X-Request-ID"),
    (b"access-control-max-age", b"600"),
]
LIMITED = ("/chat", "/chat/stream", "/search", "/feedback", "/v1/chat/completions")


class Guard:
    """Pure ASGI, outermost: request id, CORS, body cap, origins, rate limit, JSON 500, log line.

    It answers the probes directly: through FastAPI they would cost twice as much.

    CORSMiddleware is not used: it sends Allow-Credentials to origins that it refuses, and FastAPI's
    500 and 413 would lack the headers.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        drain: asyncio.Event,
        probes: dict[str, Callable[[], Response]],
        metrics: "Metrics | None",
    ) -> None:
        self._app = app
        self._probes = probes
        self._drain = drain
        self._metrics = metrics
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
        headers: dict[bytes, bytes] = dict(scope["headers"])
        given_id = headers.get(b"x-request-id", b"")
        request_id = given_id.decode() if REQUEST_ID.fullmatch(given_id) else new_request_id()
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
                (b"access-control-expose-headers", EXPOSED),
            ]
        status = 0

        async def send_extra(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                more = scope["state"].get("headers", ())
                message["headers"] = [*message.get("headers", ()), *extra, *more]
            await send(message)

        scope["state"]["request_id"] = request_id
        try:
            await self._serve(scope, receive, send_extra, headers, origin)
        except Exception:
            log.exception("request failed", extra={"data": {"request_id": request_id}})
            if not status:
                await bug_response()(scope, receive, send_extra)
        finally:
            seconds = time.perf_counter() - started
            if self._metrics:
                self._metrics.observe(scope["method"], scope["path"], status, seconds)
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
        if scope["path"] in LIMITED:
            peer = scope["client"][0] if scope.get("client") else ""
            key = client_key(headers, peer, self._hops)
            wait = self._limit.take(key)
            scope["state"]["headers"] = self._limit.headers(key)
            if wait:
                return error_response(
                    429,
                    "rate_limited",
                    "Too many requests from your address.",
                    headers={"Retry-After": str(max(1, math.ceil(wait)))},
                )
        return None

    async def _read_body(self, receive: Receive, headers: dict[bytes, bytes]) -> bytes | Response:
        """The body, or a refusal if it exceeds the size or the time that protect other clients."""
        too_large = error_response(
            413,
            "body_too_large",
            f"The body is larger than {self._max_body} bytes.",
            headers={"Connection": "close"},
        )
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_body:
            await _discard(receive)
            return too_large
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return error_response(400, "bad_request", "The body ended early.")
                    body += message.get("body", b"")
                    if len(body) > self._max_body:
                        await _discard(receive)
                        return too_large
                    if not message.get("more_body"):
                        return bytes(body) if _is_utf8(body) else _not_utf8()
        except TimeoutError:
            return error_response(
                408, "request_timeout", "The body took too long.", headers={"Connection": "close"}
            )


async def _discard(receive: Receive) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while (await receive()).get("more_body"):
                pass


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


def _is_utf8(body: bytearray) -> bool:
    """False for UTF-16 and UTF-32 too, which Python's JSON parser would take.

    No JSON text holds a NUL byte. Source: RFC 8259, section 8.1.
    """
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in body


def _not_utf8() -> Response:
    return error_response(400, "bad_request", "The body must be JSON in UTF-8.")


def _origin_refused() -> Response:
    return error_response(
        403, "origin_not_allowed", "This origin may not call the service from a browser."
    )
