"""Counts for Prometheus, behind METRICS_TOKEN."""

from hmac import compare_digest

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from pydantic import SecretStr

METHODS = frozenset(("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"))
ROUTES = frozenset(
    (
        *("/", "/health", "/ready", "/metrics", "/chat", "/chat/stream", "/search", "/feedback"),
        *("/v1/chat/completions", "/v1/models", "/book", "/docs", "/openapi.json", "/widget.js"),
    )
)


class Metrics:
    """Counters with few label values, whatever clients send."""

    def __init__(self, token: SecretStr) -> None:
        self._token = f"Bearer {token.get_secret_value()}".encode()
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "http_requests_total",
            "Answered requests",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._durations = Histogram(
            "http_request_duration_seconds",
            "Time until a request was answered",
            ["route"],
            buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2, 10),
            registry=self._registry,
        )
        self._answers = Counter(
            "answers_total",
            "Answers by mode",
            ["mode", "degraded"],
            registry=self._registry,
        )

    def observe(self, method: str, path: str, status: int, seconds: float) -> None:
        """Counts a request; status 0 is a client that left before its answer."""
        route = path if path in ROUTES else "/book" if path.startswith("/book/") else "other"
        method = method if method in METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._durations.labels(route).observe(seconds)

    def answered(self, mode: str, *, degraded: bool) -> None:
        self._answers.labels(mode, str(degraded).lower()).inc()

    def may_read(self, authorization: str) -> bool:
        return compare_digest(authorization.encode(), self._token)

    def render(self) -> tuple[bytes, str]:
        """The exposition and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST
