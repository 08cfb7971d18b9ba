"""A stand-in for Resend's mail API that keeps each mail.

POST /emails accepts a mail. GET /sent lists all mails with their authorization header.
Source: resend.com/docs/api-reference/emails/send-email.
"""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SENT: list[dict[str, object]] = []


class Mail(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.answer(200, SENT)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/emails" or not {"from", "to", "subject", "text"} <= body.keys():
            self.answer(422, {"name": "validation_error"})
            return
        SENT.append({**body, "authorization": self.headers["Authorization"]})
        self.answer(200, {"id": str(len(SENT))})

    def answer(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("0.0.0.0", 8080), Mail).serve_forever()
