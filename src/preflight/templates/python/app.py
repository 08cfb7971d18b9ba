"""A sound Space in one file: a server that signs texts, without a package to install."""

import hashlib
import hmac
import json
import os
import re
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = 7860
LARGEST_BODY = 64 * 1024
SAMPLE_KEY = "sample-key-for-this-machine-only-0123456789"
ROUTES = {"/": ("GET",), "/health": ("GET",), "/ready": ("GET",), "/sign": ("POST",)}
PAGE = "<!doctype html><title>Signer</title><h1>Signer</h1><p>POST /sign with a text.</p>"


class Settings:
    """The environment, checked once at start; a blank value counts as unset."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.key = os.environ.get("SIGNING_KEY", "").strip()
        self.signer = os.environ.get("SIGNER_NAME", "").strip()
        listed = os.environ.get("CORS_ORIGINS", "").strip()
        self.origins = [part.strip() for part in listed.split(",")] if listed else []
        on_the_hub = os.environ.get("SYSTEM") == "spaces"
        if not self.key:
            self.faults.append("SIGNING_KEY: missing")
        elif len(self.key) < 32:
            self.faults.append("SIGNING_KEY: shorter than 32 characters")
        elif on_the_hub and self.key == SAMPLE_KEY:
            self.faults.append("SIGNING_KEY: a published sample value")
        if not self.signer:
            self.faults.append("SIGNER_NAME: missing")
        for number, origin in enumerate(self.origins, 1):
            if not re.fullmatch(
                r"https://[a-z0-9.-]+(:\d+)?|http://(localhost|127\.0\.0\.1)(:\d+)?", origin
            ):
                self.faults.append(f"CORS_ORIGINS: entry {number} is not an origin")


class Handler(BaseHTTPRequestHandler):
    """One request. `settings` is set before the server starts."""

    settings: Settings
    server_version = "signer"
    sys_version = ""
    # A client that sends nothing must not hold up the end of the process.
    timeout = 5

    def do_GET(self) -> None:
        self.handle_with(self.read_only)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.handle_with(self.sign)

    def do_OPTIONS(self) -> None:
        self.handle_with(self.preflight)

    def do_PUT(self) -> None:
        self.handle_with(lambda: self.allowed_only(()))

    do_DELETE = do_PATCH = do_PUT

    def handle_with(self, action: Callable[[], object]) -> None:
        self.started, self.status = time.perf_counter(), 0
        self.route = self.path.partition("?")[0]
        self.request_id = uuid.uuid4().hex
        try:
            length = self.headers.get("Content-Length", "0")
            if not length.isdigit() or int(length) > LARGEST_BODY:
                self.answer(413, {"error": "body too large"})
                return
            # Read in any case: a client that still sends would miss the answer.
            self.body = self.rfile.read(int(length))
            if self.route not in ROUTES:
                self.answer(404, {"error": "not found"})
            else:
                action()
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        except Exception as error:
            log("error", "request failed", id=self.request_id, kind=type(error).__name__)
            if not self.status:
                self.answer(500, {"error": "internal", "request_id": self.request_id})
        finally:
            log(
                "info",
                "request",
                id=self.request_id,
                method=self.command,
                path=self.route,
                status=self.status,
                ms=round((time.perf_counter() - self.started) * 1000, 1),
            )

    def read_only(self) -> None:
        if not self.allowed_only(("GET",)):
            return
        if self.route == "/" and "text/html" in self.headers.get("Accept", ""):
            self.answer(200, PAGE, "text/html; charset=utf-8")
        elif self.route == "/":
            self.answer(200, {"name": "signer", "sign": "POST /sign"})
        elif self.route == "/ready":
            self.answer(200, {"status": "ready"})
        else:
            self.answer(200, {"status": "ok", "version": "1.0", "services": {}})

    def sign(self) -> None:
        if not self.allowed_only(("POST",)):
            return
        if self.headers.get("Origin") and not self.origin():
            self.answer(403, {"error": "origin not allowed"})
            return
        try:
            text = json.loads(self.body)["text"]
            signature = hmac.new(self.settings.key.encode(), text.encode(), hashlib.sha256)
        except (ValueError, KeyError, TypeError, AttributeError):
            self.answer(422, {"error": "send JSON with a text"})
            return
        self.answer(200, {"signer": self.settings.signer, "signature": signature.hexdigest()})

    def preflight(self) -> None:
        asked = self.headers.get("Access-Control-Request-Method")
        if self.headers.get("Origin") and asked and not self.origin():
            self.answer(403, {"error": "origin not allowed"})
            return
        self.answer(204, "", allow=("GET", "HEAD", "POST"))

    def allowed_only(self, methods: tuple[str, ...]) -> bool:
        if methods and methods[0] in ROUTES[self.route]:
            return True
        self.answer(405, {"error": "method not allowed"}, allow=ROUTES[self.route])
        return False

    def origin(self) -> str | None:
        origin = self.headers.get("Origin")
        return origin if origin in self.settings.origins else None

    def answer(
        self,
        status: int,
        body: str | dict[str, object],
        kind: str = "application/json",
        allow: Sequence[str] = (),
    ) -> None:
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.status = status
        self.send_response_only(status)
        self.send_header("Content-Type", kind)
        self.send_header("Vary", "Origin")
        self.send_header("X-Request-Id", self.request_id)
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        if allow:
            self.send_header("Allow", ", ".join(allow))
        if origin := self.origin():
            self.send_header("Access-Control-Allow-Origin", origin)
            self.send_header("Access-Control-Allow-Credentials", "true")
            if self.command == "OPTIONS":
                self.send_header("Access-Control-Allow-Methods", "GET, HEAD, POST")
                self.send_header("Access-Control-Allow-Headers", "Authorization, Content-Type")
                self.send_header("Access-Control-Max-Age", "600")
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """The one line per request is written by `handle_with`."""


class Server(ThreadingHTTPServer):
    # The end of the process waits for the requests under way.
    daemon_threads = False
    request_queue_size = 128


def log(level: str, event: str, **fields: object) -> None:
    line = {"time": time.time(), "level": level, "event": event, **fields}
    # One write for a line: several requests end at once.
    sys.stdout.write(json.dumps(line) + "\n")


def main() -> int:
    settings = Settings()
    if settings.faults:
        print("\n".join(settings.faults), file=sys.stderr)
        return 3
    Handler.settings = settings
    server = Server(("0.0.0.0", PORT), Handler)

    def stop(*_: object) -> None:
        # In a thread of its own: `shutdown` waits for the loop that this handler interrupts.
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    log("info", "listening", port=PORT)
    server.serve_forever(poll_interval=0.05)
    server.server_close()
    log("info", "stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
