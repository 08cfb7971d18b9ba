"""Logs: one JSON object per line on stdout."""

import json
import logging
import secrets
import sys
import time
from functools import lru_cache
from logging.config import dictConfig
from traceback import extract_tb

_requests = logging.getLogger("app.requests")


class JsonFormatter(logging.Formatter):
    """A record as one JSON line; `extra={"data": {...}}` adds fields.

    Of an exception it prints the type and the frames, never the message: that may contain a
    question or an upstream's answer.
    """

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": timestamp(record.created),
            "level": record.levelname.lower(),
            "msg": record.getMessage(),
            **getattr(record, "data", {}),
        }
        if record.exc_info and record.exc_info[0]:
            line["exception"] = record.exc_info[0].__name__
            line["frames"] = [f"{f.filename}:{f.lineno}" for f in extract_tb(record.exc_info[2])]
        return json.dumps(line, ensure_ascii=False)


def new_request_id() -> str:
    return secrets.token_hex(8)


def write_request(
    request_id: str, method: str, path: str, status: int, seconds: float, **more: object
) -> None:
    """Writes the log line of one request without `logging`, which would cost more than a probe.

    Method and path are empty for a malformed request.
    """
    if not _requests.isEnabledFor(logging.INFO):
        return
    line = (
        f'{{"time": "{timestamp(time.time())}", "level": "info", "msg": "request", '
        f'"request_id": "{request_id}", "method": {json.dumps(method)}, '
        f'"path": {json.dumps(path)}, "status": {status}, "ms": {seconds * 1000:.1f}'
    )
    extra = "".join(f', "{name}": {json.dumps(value)}' for name, value in more.items())
    sys.stdout.write(f"{line}{extra}}}\n")


def timestamp(seconds: float) -> str:
    """UTC in ISO 8601 with milliseconds."""
    return f"{_to_the_second(int(seconds))}.{int(seconds * 1000) % 1000:03d}Z"


@lru_cache(maxsize=1)
def _to_the_second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def set_up(level: str) -> None:
    """Sends the app's and the server's records to stdout at `level` and above."""
    dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"json": {"()": JsonFormatter}},
            "handlers": {
                "out": {
                    "class": "logging.StreamHandler",
                    "formatter": "json",
                    "stream": sys.stdout,
                }
            },
            "root": {"handlers": ["out"], "level": "WARNING"},
            "loggers": {
                "app": {"level": level.upper()},
                "uvicorn": {"level": level.upper()},
                # `write_request` writes the line of each request, with its id.
                "uvicorn.access": {"level": "CRITICAL", "propagate": False},
            },
        }
    )
