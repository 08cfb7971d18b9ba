"""Spaces whose fault appears in the start, the answers or the end: like `cases`, with one change each."""

from __future__ import annotations

from preflight.model.problems import Severity
from tests.selftest.cases import Broken

ENVIRONMENT = (
    Broken(
        "starts-without",
        "environment.refuses_a_wrong_environment",
        edit={"app.py": [("if not self.signer:", "if not self.signer and self.faults:")]},
        needs="container",
    ),
    Broken(
        "takes-the-sample",
        "environment.refuses_a_wrong_environment",
        edit={"app.py": [("elif on_the_hub and", "elif not on_the_hub and False and")]},
        needs="container",
    ),
    Broken(
        "prints-the-value",
        "environment.prints_no_value",
        edit={"app.py": [('"SIGNING_KEY: shorter', 'f"SIGNING_KEY: {self.key} is shorter')]},
        needs="container",
    ),
    Broken(
        "refuses-the-shortest",
        "environment.accepts_a_right_environment",
        edit={"app.py": [("elif len(self.key) < 32:", "elif len(self.key) < 33:")]},
        needs="container",
    ),
)

ORIGIN = "        return origin if origin in self.settings.origins else None\n"
LOOSE = (
    '        if self.command {} "OPTIONS":\n'
    "            for allowed in self.settings.origins:\n"
    "                if str(origin).startswith(allowed):\n"
    "                    return origin\n"
)
CORS = (
    Broken(
        "preflight-by-prefix",
        "cors.refuses_a_preflight_request_of_any_other_origin",
        edit={"app.py": [(ORIGIN, LOOSE.format("==") + ORIGIN)]},
        needs="container",
    ),
    Broken(
        "origin-by-prefix",
        "cors.lets_no_other_origin_read_any_answer",
        edit={"app.py": [(ORIGIN, LOOSE.format("!=") + ORIGIN)]},
        needs="container",
    ),
    Broken(
        "no-cors-on-errors",
        "cors.lets_a_listed_origin_read_every_status",
        edit={
            "app.py": [
                ("if origin := self.origin():", "if (origin := self.origin()) and status < 400:")
            ]
        },
        needs="container",
    ),
    Broken(
        "preflight-without-headers",
        "cors.answers_a_preflight_request_of_a_listed_origin",
        edit={"app.py": [('"Authorization, Content-Type"', '"Accept"')]},
        needs="container",
    ),
    Broken(
        "credentials-for-all",
        "cors.shares_no_credentials_with_every_origin",
        base="promises_nothing",
        edit={
            "Dockerfile": [
                ("index.html .", "server.py ."),
                ('["python", "-m", "http.server", "7860"]', '["python", "server.py"]'),
            ]
        },
        files={
            "server.py": """\
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

signal.signal(signal.SIGTERM, lambda *_: sys.exit())

class Echo(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.send_header("Access-Control-Allow-Origin", self.headers.get("Origin", "*"))
        self.send_header("Access-Control-Allow-Credentials", "true")
        self.end_headers()

    do_HEAD = do_POST = do_OPTIONS = do_DELETE = do_GET


HTTPServer(("0.0.0.0", 7860), Echo).serve_forever()
"""
        },
        needs="container",
    ),
    Broken(
        "no-vary",
        "cors.varies_by_origin",
        edit={"app.py": [('        self.send_header("Vary", "Origin")\n', "")]},
        needs="container",
    ),
)

START = (
    Broken(
        "warns-at-each-start",
        "start.starts_without_alarms",
        severity=Severity.ADVICE,
        edit={
            "app.py": [
                (
                    '    log("info", "listening"',
                    '    log("warning", "old key")\n    log("info", "listening"',
                )
            ]
        },
        needs="container",
    ),
)

SHUTDOWN = (
    Broken(
        "deaf-to-sigterm",
        "shutdown.ends_on_sigterm",
        edit={"app.py": [("    signal.signal(signal.SIGTERM, stop)\n", "")]},
        needs="container",
    ),
    Broken(
        "drops-requests",
        "shutdown.finishes_requests_in_flight",
        edit={
            "app.py": [
                ("        threading.Thread(target=server.shutdown).start()", "        os._exit(0)")
            ]
        },
        needs="container",
    ),
    Broken(
        "trips-over-its-pid-file",
        "shutdown.starts_again_after_a_kill",
        edit={
            "app.py": [
                ("    Handler.settings", '    open("/tmp/pid", "x").close()\n    Handler.settings')
            ]
        },
        needs="container",
    ),
)
