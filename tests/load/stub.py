"""A stub of both Spaces with the faults that the gate has to distinguish. It also serves as an unknown
Space: an OpenAPI document, a page, a stream, an upload, a WebSocket.

    python stub.py [--slow SECONDS] [--fail SHARE] [--rename PATH] [--limit SHARE] [--leak MB]
                   [--stall SECONDS] [--die SECONDS] [--every STATUS]

prints its port and serves until it is killed.
"""

import argparse
import base64
import hashlib
import itertools
import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

parser = argparse.ArgumentParser()
parser.add_argument("--slow", type=float, default=0.0, help="seconds added to /chat and /items")
parser.add_argument(
    "--fail", type=float, default=0.0, help="share of /chat and /items with status 500"
)
parser.add_argument("--limit", type=float, default=0.0, help="share of POST /chat with status 429")
parser.add_argument("--rename", default="", help="path that answers 404")
parser.add_argument("--leak", type=float, default=0.0, help="memory to leak, MB a second")
parser.add_argument("--stall", type=float, default=0.0, help="seconds of stall in every ten")
parser.add_argument(
    "--die", type=float, default=0.0, help="seconds from the first request to the exit"
)
parser.add_argument("--every", type=int, default=0, help="status of every response to a GET")
faults = parser.parse_args()
slowed = itertools.count(1)
served = itertools.count()
started = time.monotonic()
DOCUMENT = {
    "openapi": "3.1.0",
    "paths": {
        "/": {"get": {}},
        "/health": {"get": {}, "head": {}},
        "/items": {
            "get": {
                "parameters": [
                    {"name": "page", "in": "query", "required": True, "example": 2},
                    {"name": "size", "in": "query"},
                ]
            },
            "post": {},
            "delete": {},
        },
        "/items/{id}": {"get": {"parameters": [{"name": "id", "in": "path", "required": True}]}},
    },
}
# Source: RFC 6455 section 1.3
WEBSOCKET_KEY = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Space(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # A single write for each response: the second of two would wait 40 ms for a delayed ACK.
    wbufsize = -1
    accounts: ClassVar[dict[str, str]] = {}  # mail address -> password

    def parse_request(self) -> bool:
        if not next(served) and faults.die:
            threading.Timer(faults.die, os._exit, [1]).start()
        into = (time.monotonic() - started) % 10
        if faults.stall and 10 - faults.stall <= into:
            time.sleep(10 - into)
        return super().parse_request()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/served":
            self.answer(200, next(served) - 1)  # without this request
        elif faults.every:
            self.answer(faults.every, {}, ("Retry-After", "2"))
        elif path == faults.rename:
            self.answer(404, {})
        elif path == "/items":
            self.answer_slowly({"items": []} if "page=2" in self.path else None)
        elif path == "/health":
            self.answer(200, {"status": "ok", "version": "1.0", "services": {}})
        elif path == "/openapi.json":
            self.answer(200, DOCUMENT)
        elif path == "/echo":
            self.web_socket()
        elif path == "/api/auth/get-session":
            _, _, email = self.headers.get("Cookie", "").partition("session=")
            self.answer(200, {"user": {"email": email}} if email else None)
        elif path == "/api/auth/token":
            self.answer(200, {"token": "header.claims.signature"})
        else:
            self.answer(200, {"name": "stub"})

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/upload":
            sent = b"multipart" in self.headers["Content-Type"].encode() and b'name="file"' in raw
            self.answer(200 if sent else 400, {})
            return
        body = json.loads(raw)
        if self.path == "/chat/stream":
            self.stream()
        elif self.path == faults.rename:
            self.answer(404, {})
        elif self.path == "/chat":
            self.answer_slowly({"answer": "yes", "sources": [], "grounded": False})
        elif self.path == "/api/auth/sign-out":
            self.answer(200, {}, ("Set-Cookie", "session=; Path=/; Max-Age=0"))
        elif "sign-up" in self.path:
            self.accounts[body["email"]] = body["password"]
            self.answer(200, {}, ("Set-Cookie", f"session={body['email']}; Path=/"))
        elif self.accounts.get(body["email"]) == body["password"]:
            self.answer(200, {}, ("Set-Cookie", f"session={body['email']}; Path=/"))
        else:
            self.answer(401, {})

    def answer_slowly(self, body: Any) -> None:
        time.sleep(faults.slow)
        number = next(slowed)
        if body is None:
            self.answer(400, {})
        elif faults.fail and not number % round(1 / faults.fail):
            self.answer(500, {})
        elif faults.limit and not number % round(1 / faults.limit):
            self.answer(429, {}, ("Retry-After", "1"))
        else:
            self.answer(200, body)

    def stream(self) -> None:
        """The first event at once, the last a tenth of a second later."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"event: delta\ndata: {}\n\n")
        self.wfile.flush()
        time.sleep(0.1)
        self.wfile.write(b"event: done\ndata: {}\n\n")

    def web_socket(self) -> None:
        """Send a short message back."""
        key = self.headers["Sec-WebSocket-Key"] + WEBSOCKET_KEY
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        digest = hashlib.sha1(key.encode()).digest()
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(digest).decode())
        self.end_headers()
        self.wfile.flush()
        head = self.rfile.read(6)
        masked = self.rfile.read(head[1] & 0x7F)
        text = bytes(byte ^ head[2 + place % 4] for place, byte in enumerate(masked))
        self.wfile.write(bytes([0x81, len(text)]) + text)
        self.close_connection = True

    def answer(self, status: int, body: Any, *headers: tuple[str, str]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        own = (("Content-Type", "application/json"), ("Content-Length", str(len(content))))
        for name, value in (*headers, *own):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    # The default of 5 drops the connections of people who arrive together; they retry after 1 s.
    request_queue_size = 1024

    def handle_error(self, *_: object) -> None:
        """Print nothing: people disconnect when a run ends."""


def leak() -> None:
    kept = []
    while faults.leak:
        kept.append(b"x" * int(faults.leak * 100_000))  # written to, so resident
        time.sleep(0.1)


threading.Thread(target=leak, daemon=True).start()
server = Server(("127.0.0.1", 0), Space)
print(server.server_port, flush=True)
server.serve_forever()
