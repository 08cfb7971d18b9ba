"""Limits the size and the time of a request's head.

uvicorn has no option for either: it would buffer a header of any length and wait for its end for
ever.
"""

import asyncio
from typing import Any

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.errors import error_response
from app.limits import LINGER_SECONDS
from app.logs import new_request_id, write_request

MAX_HEAD_BYTES = 32_768
HEAD_SECONDS = 10.0

MALFORMED = error_response(400, "bad_request", "This is not a valid HTTP/1.1 request.")
NO_VERSION = error_response(400, "bad_request", "The request line must name HTTP/1.0 or HTTP/1.1.")
NOT_ONE_HOST = error_response(400, "bad_request", "A request needs exactly one Host header.")
TOO_LATE = error_response(408, "request_timeout", "The request's head took too long.")
TOO_LARGE = error_response(
    431, "headers_too_large", f"The request's head is larger than {MAX_HEAD_BYTES} bytes."
)


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with limits on the head of each request.

    A refusal is the connection's last answer; it has the envelope, a request id and a log line.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._head_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._refusal = MALFORMED
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._clear_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused or self.transport.is_closing():
            return
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes and not self._refused:
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(TOO_LARGE)
            elif not self._deadline:
                self._set_deadline()

    def on_message_begin(self) -> None:
        # The head may share a chunk with the previous request.
        self._head_bytes = self._head_bytes or 1
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._refusal = self._fault() or MALFORMED
        if self._refusal is not MALFORMED:
            # The parser stops here, and uvicorn calls `send_400_response`.
            raise ValueError
        self._in_head, self._head_bytes = False, 0
        self._clear_deadline()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head = True
        self._clear_deadline()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._in_head and not self._deadline:
            # The app does not read the rest of this body, for example after a refusal.
            self._set_deadline()

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refusal)

    def _fault(self) -> Response | None:
        """What is wrong with a complete head. Source: RFC 9112, sections 2.3 and 3.2."""
        version = self.parser.get_http_version()
        if version not in ("1.0", "1.1"):
            return NO_VERSION
        # A head in one chunk can be complete before `data_received` checks its size.
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > MAX_HEAD_BYTES:
            return TOO_LARGE
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1 or (version == "1.1" and not hosts):
            return NOT_ONE_HOST
        return None

    def _set_deadline(self) -> None:
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._on_deadline)

    def _clear_deadline(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None

    def _on_deadline(self) -> None:
        if self._in_head and self._head_bytes:
            self._refuse(TOO_LATE)
        else:
            self.transport.close()

    def _refuse(self, response: Response) -> None:
        self._refused = True
        self._clear_deadline()
        self._unset_keepalive_if_required()
        cycle = self.cycle
        if cycle and not cycle.response_complete:
            if self.pipeline or cycle.response_started or not cycle.more_body:
                # The answer to the previous request becomes the connection's last.
                cycle.keep_alive = False
                return
            # The body of this request is malformed: to the app the client has disconnected.
            cycle.disconnected = True
            cycle.message_event.set()
        request_id = new_request_id()
        write_request(request_id, "", "", response.status_code, 0)
        headers = [
            *response.raw_headers,
            (b"x-request-id", request_id.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"connection", b"close"),
        ]
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        self.transport.write(STATUS_LINE[response.status_code] + lines + b"\r\n" + response.body)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)
