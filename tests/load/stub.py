"""Both Spaces in one small server, with faults on demand: what the gate has to tell apart.

    python stub.py [--slow SECONDS] [--fail SHARE] [--rename PATH] [--limit SHARE] [--leak MB]

prints its port and serves until it is killed.
"""

import argparse
import itertools
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

parser = argparse.ArgumentParser()
parser.add_argument("--slow", type=float, default=0.0, help="seconds added to each POST /chat")
parser.add_argument("--fail", type=float, default=0.0, help="share of POST /chat answered 500")
parser.add_argument("--limit", type=float, default=0.0, help="share of POST /chat answered 429")
parser.add_argument("--rename", default="", help="path that is gone")
parser.add_argument("--leak", type=float, default=0.0, help="MB a second")
faults = parser.parse_args()
chats = itertools.count(1)
served = itertools.count()


class Space(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One write for each answer: two small ones would wait 40 ms for a delayed ACK.
    wbufsize = -1
    accounts: ClassVar[dict[str, str]] = {}  # mail address -> password

    def parse_request(self) -> bool:
        next(served)
        return super().parse_request()

    def do_GET(self) -> None:
        if self.path == "/served":
            self.answer(200, next(served) - 1)  # without this request
        elif self.path == "/health":
            self.answer(200, {"status": "ok", "version": "1.0", "services": {}})
        elif self.path == "/api/auth/get-session":
            _, _, email = self.headers.get("Cookie", "").partition("session=")
            self.answer(200, {"user": {"email": email}} if email else None)
        elif self.path == "/api/auth/token":
            self.answer(200, {"token": "header.claims.signature"})
        else:
            self.answer(200, {"name": "stub"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/chat/stream":
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(b"event: delta\ndata: {}\n\nevent: done\ndata: {}\n\n")
        elif self.path == faults.rename:
            self.answer(404, {})
        elif self.path == "/chat":
            time.sleep(faults.slow)
            chat = next(chats)
            if faults.fail and not chat % round(1 / faults.fail):
                self.answer(500, {})
            elif faults.limit and not chat % round(1 / faults.limit):
                self.answer(429, {}, ("Retry-After", "1"))
            else:
                self.answer(200, {"answer": "yes", "sources": [], "grounded": False})
        elif self.path == "/api/auth/sign-out":
            self.answer(200, {}, ("Set-Cookie", "session=; Path=/; Max-Age=0"))
        elif "sign-up" in self.path:
            self.accounts[body["email"]] = body["password"]
            self.answer(200, {}, ("Set-Cookie", f"session={body['email']}; Path=/"))
        elif self.accounts.get(body["email"]) == body["password"]:
            self.answer(200, {}, ("Set-Cookie", f"session={body['email']}; Path=/"))
        else:
            self.answer(401, {})

    def answer(self, status: int, body: Any, *headers: tuple[str, str]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(content)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    # The default of 5 drops the connections of people who arrive together; they retry after 1 s.
    request_queue_size = 128


def leak() -> None:
    kept = []
    while faults.leak:
        kept.append(b"x" * int(faults.leak * 100_000))  # written to, so resident
        time.sleep(0.1)


threading.Thread(target=leak, daemon=True).start()
server = Server(("127.0.0.1", 0), Space)
print(server.server_port, flush=True)
server.serve_forever()
