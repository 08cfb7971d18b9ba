"""A Space that tells what reached it. Runs in a container, on the standard library alone."""

import base64
import hashlib
import http.server
import json
import os
import signal
import socket
import threading
import time
from urllib.parse import parse_qsl, urlsplit

# A stream goes on when the client has said that its first part arrived.
arrived = threading.Event()


class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        target = urlsplit(self.path)
        given = parse_qsl(target.query)
        match target.path:
            case "/headers":
                self.answer(given)
            case "/slow":
                time.sleep(float(dict(given)["seconds"]))
                self.answer()
            case "/stream":
                self.stream(dict(given)["type"])
            case "/arrived":
                arrived.set()
                self.answer()
            case "/websocket":
                self.websocket()
            case _:
                self.answer()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_GET

    def answer(self, headers: list[tuple[str, str]] = []) -> None:  # noqa: B006
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        seen = {
            "replica": os.environ.get("REPLICA"),
            "version": self.request_version,
            "method": self.command,
            "path": self.path,
            "headers": [[name.lower(), value] for name, value in self.headers.items()],
            "body": body.decode(),
        }
        text = json.dumps(seen).encode()
        self.send_response(200)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else text)

    def stream(self, kind: str) -> None:
        arrived.clear()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"9\r\ndata: 1\n\n\r\n")
        arrived.wait(10)
        self.wfile.write(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")

    def websocket(self) -> None:
        """Echoes one short text frame (RFC 6455) after another until the client closes."""
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        accepted = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        self.send_header("Sec-WebSocket-Accept", accepted)
        self.end_headers()
        while (kind := self.rfile.read(1)) == b"\x81":
            length = self.rfile.read(1)[0] & 127
            mask = self.rfile.read(4)
            text = bytes(byte ^ mask[at % 4] for at, byte in enumerate(self.rfile.read(length)))
            self.wfile.write(kind + bytes([length]) + text)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128


# A new replica needs a while before it listens: seconds, or until a test sends SIGUSR1.
if os.environ.get("START_AFTER") == "SIGUSR1":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    signal.sigwait({signal.SIGUSR1})
else:
    time.sleep(float(os.environ.get("START_AFTER", "0")))
# HOST=its-own listens at the address of its host name alone, as the standalone server of Next.js does.
host = socket.gethostname() if os.environ.get("HOST") == "its-own" else ""
Server((host, 7860), Echo).serve_forever()
