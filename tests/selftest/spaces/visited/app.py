# mypy: ignore-errors
"""A Space whose answers are those of `pages.answer`."""

import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pages


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10

    def do_GET(self):
        sent = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        status, headers, body = pages.answer(self.command, self.path, self.headers, sent.decode())
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if isinstance(body, str):
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body.encode())
            return
        self.send_header("Connection", "close")
        self.end_headers()
        for part in body:
            self.wfile.write(part)
            self.wfile.flush()

    do_HEAD = do_POST = do_GET

    def log_message(self, *_):
        """Requests are not logged."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("0.0.0.0", 7860), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print("listening on 7860")
    server.serve_forever(poll_interval=0.05)
    # The requests in flight run in threads that end with the process.
    time.sleep(0.5)
