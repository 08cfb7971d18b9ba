"""Error answers: their exception and their envelope."""

import json

from starlette.responses import Response


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
