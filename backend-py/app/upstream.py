"""Calls to an HTTP service: time-outs, one quick retry, errors with stable codes."""

import asyncio
import ssl
import time
from functools import cache
from typing import Any, Self

import httpx2

from app.errors import ApiError

RETRY_SECONDS = 0.1
# Seconds after which readiness ignores a failure: without traffic no later call would clear it.
FAILURE_SECONDS = 60.0
# Errors of reading an answer of unexpected shape: `1e999` and deep nesting are valid JSON too.
UNREADABLE = (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError)


@cache
def _tls() -> ssl.SSLContext:
    """Shared: reading the certificates takes a tenth of a second each time."""
    return ssl.create_default_context()


class UpstreamError(ApiError):
    """A dependency failed. No text of its answer is kept: it may hold keys or a prompt."""


class Upstream:
    """One service behind one client. `problem` is the code of the last call's failure, or None."""

    def __init__(
        self, name: str, base_url: str, headers: dict[str, str], *, seconds: float, connect: float
    ) -> None:
        self.name = name
        self.problem: str | None = None
        self._failed_at = 0.0
        self._seconds = seconds
        self._client = httpx2.AsyncClient(
            base_url=base_url,
            headers=headers,
            timeout=httpx2.Timeout(seconds, connect=min(connect, seconds)),
            limits=httpx2.Limits(max_connections=100, max_keepalive_connections=20),
            verify=_tls(),
            # Ignores proxies, CA files and .netrc of the environment: settings alone decide.
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    def present_problem(self) -> str | None:
        """The code of the last call's failure while it is recent, else None."""
        recent = time.monotonic() - self._failed_at < FAILURE_SECONDS
        return self.problem if recent else None

    async def json(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """The JSON object in the service's answer; raises UpstreamError."""
        try:
            async with asyncio.timeout(self._seconds):
                response = await self._send(method, path, body)
                try:
                    await response.aread()
                    self._check(response)
                    answer = response.json()
                finally:
                    await response.aclose()
        except (httpx2.HTTPError, TimeoutError, ValueError, RecursionError) as error:
            raise self.failed(error) from None
        if not isinstance(answer, dict):
            raise self.failure(502, "upstream_bad_response")
        self.succeeded()
        return answer

    async def stream(self, path: str, body: object) -> httpx2.Response:
        """An open event stream, which the caller closes; raises UpstreamError."""
        try:
            async with asyncio.timeout(self._seconds):
                response = await self._send("POST", path, body)
        except (httpx2.HTTPError, TimeoutError) as error:
            raise self.failed(error) from None
        try:
            self._check(response)
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                raise self.failure(502, "upstream_bad_response")
        except BaseException:
            await response.aclose()
            raise
        return response

    async def _send(self, method: str, path: str, body: object) -> httpx2.Response:
        request = self._client.build_request(method, path, json=body)
        try:
            response = await self._client.send(request, stream=True)
            if response.status_code < 500:
                return response
            await response.aclose()
        except (httpx2.ConnectError, httpx2.RemoteProtocolError, httpx2.ReadError):
            pass
        # A retry cures a stale keep-alive connection and a single bad answer.
        # A 429 is not retried: each call costs quota, and the client decides whether to wait.
        await asyncio.sleep(RETRY_SECONDS)
        return await self._client.send(
            self._client.build_request(method, path, json=body), stream=True
        )

    def _check(self, response: httpx2.Response) -> None:
        status = response.status_code
        if status < 300:
            return
        if status in (401, 403):
            raise self.failure(502, "upstream_auth")
        if status == 404:
            raise self.failure(502, "upstream_not_found")
        if status == 429:
            given = response.headers.get("retry-after", "")
            raise self.failure(503, "upstream_rate_limited", float(given) if given.isdigit() else 5)
        if status in (408, 504):
            raise self.failure(504, "upstream_timeout")
        if status == 503:
            raise self.failure(503, "upstream_unavailable", 5)
        raise self.failure(502, "upstream_error" if status >= 500 else "upstream_rejected")

    def succeeded(self) -> None:
        self.problem = None

    def failed(self, error: Exception) -> UpstreamError:
        """The UpstreamError for a transport error or an unreadable body."""
        if isinstance(error, UpstreamError):
            return error
        if isinstance(error, TimeoutError | httpx2.TimeoutException):
            return self.failure(504, "upstream_timeout")
        if isinstance(error, ValueError | RecursionError):
            return self.failure(502, "upstream_bad_response")
        return self.failure(503, "upstream_unavailable", 5)

    def failure(self, status: int, code: str, retry_after: float | None = None) -> UpstreamError:
        self.problem, self._failed_at = code, time.monotonic()
        return UpstreamError(status, code, f"{self.name} failed: {code}.", retry_after)
