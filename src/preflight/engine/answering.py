"""A server that answers HTTP, and the limits of a probe on its answers."""

from __future__ import annotations

import http.client
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import requests
import urllib3

# Reading an answer must not outlast a check.
REQUEST_TIMEOUT = 10
TRIES = 2
# A server that answered none of its last requests gets less time for the next: the checks send many.
LAST_REQUESTS = 3
SHORT_TIMEOUT = 2
# Larger than any check reads.
LARGEST_BODY = 8 * 1024**2


class NoAnswer(requests.ConnectionError):
    """A request got no HTTP answer. request_line: `GET /path`. reason: why, in a few words."""

    def __init__(self, request_line: str, reason: str) -> None:
        super().__init__(f"{request_line}: {reason}")
        self.request_line = request_line
        self.reason = reason


class Silence(NoAnswer, requests.Timeout):
    """A request got no HTTP answer within its deadline."""


class EndlessBody(requests.Timeout):
    """An answer's body did not end within the request's deadline."""


class Answering:
    """A server that answers HTTP at `url`."""

    url: str
    safe_only = False
    """Whether checks may send only GET, HEAD and OPTIONS, and few of them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.http = requests.Session()
        # Proxy settings of this machine do not apply to its containers.
        self.http.trust_env = False
        self._silent: Counter[str] = Counter()
        self._silent_in_a_row = 0

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send one request; a redirect is returned, not followed.

        The body is read up to LARGEST_BODY, unless `stream` is given. Without `timeout` the request
        waits REQUEST_TIMEOUT, or SHORT_TIMEOUT after LAST_REQUESTS in a row without an answer. A
        request that got none twice is not sent again.
        Raises NoAnswer for every failure.
        """
        line = f"{method} {path}"
        if self._silent[line] >= TRIES:
            raise Silence(line, f"no answer, {TRIES} times")
        counted = "timeout" not in options
        hopeless = self._silent_in_a_row >= LAST_REQUESTS
        timeout = options.setdefault("timeout", SHORT_TIMEOUT if hopeless else REQUEST_TIMEOUT)
        options.setdefault("allow_redirects", False)
        streamed = options.pop("stream", False)
        try:
            answer = self.http.request(method, self.url + path, stream=True, **options)
            if not streamed:
                _read(answer, timeout if isinstance(timeout, (int, float)) else REQUEST_TIMEOUT)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            silent = (requests.Timeout, urllib3.exceptions.TimeoutError)
            if not isinstance(error, silent):
                raise NoAnswer(line, _reason(error)) from error
            if counted and not streamed:
                self._silent[line] += 1
                self._silent_in_a_row += 1
            raise Silence(line, _reason(error)) from error
        self._silent_in_a_row = 0
        return answer

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.request("GET", path, **options)

    def head(self, path: str, **options: Any) -> requests.Response:
        return self.request("HEAD", path, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return self.request("POST", path, **options)

    def options(self, path: str, **options: Any) -> requests.Response:
        return self.request("OPTIONS", path, **options)


def read_body(answer: requests.Response, deadline: float, most: int) -> tuple[bytes, bool]:
    """The body of a streamed answer, and whether it ended within `deadline` seconds and `most` bytes.

    Raises urllib3's HTTPError where the body is not as its headers declare.
    """
    end, body = time.monotonic() + deadline, b""
    # `iter_content` waits for a whole block, which a slow body may never fill.
    while part := answer.raw.read1(64 * 1024, decode_content=True):
        body += part
        if len(body) > most or time.monotonic() > end:
            answer.close()
            return body, False
    return body, True


def _read(answer: requests.Response, deadline: float) -> None:
    """Read the body into `answer.content`, at most LARGEST_BODY. Raises EndlessBody."""
    body, whole = read_body(answer, deadline, LARGEST_BODY)
    if not whole and len(body) <= LARGEST_BODY:
        raise EndlessBody(f"the body does not end within {deadline:g} s")
    # What `requests` itself sets once a streamed body is read.
    answer._content = body


def _reason(error: Exception) -> str:
    """The reason of a failure, without the addresses and objects that the library prints."""
    causes = list(_causes(error))
    for kind, reason in _REASONS:
        if any(isinstance(cause, kind) for cause in causes):
            return reason
    return str(error) if isinstance(error, EndlessBody) else "the connection failed"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and its causes: `requests` wraps urllib3's errors, which wrap the socket's."""
    yield error
    inner = [cause for cause in (*error.args, getattr(error, "reason", None)) if cause is not error]
    for reason in inner:
        if isinstance(reason, BaseException):
            yield from _causes(reason)
        elif isinstance(reason, (tuple, list)):
            yield from (cause for cause in reason if isinstance(cause, BaseException))


# The first that fits: RemoteDisconnected is both a reset and an invalid status line.
_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (urllib3.exceptions.IncompleteRead, "the body ends before its declared length"),
    (urllib3.exceptions.InvalidChunkLength, "the body is not valid chunked encoding"),
    (urllib3.exceptions.DecodeError, "the body is not in its declared Content-Encoding"),
    (http.client.RemoteDisconnected, "the connection is closed without an answer"),
    (ConnectionResetError, "the connection is reset"),
    (ConnectionRefusedError, "the connection is refused"),
    (http.client.LineTooLong, "a header is longer than 64 KiB"),
    (http.client.HTTPException, "what comes back is not an HTTP/1 answer"),
    (ssl.SSLError, "what comes back is not TLS"),
    (urllib3.exceptions.TimeoutError, "no answer within the deadline"),
    (TimeoutError, "no answer within the deadline"),
)
