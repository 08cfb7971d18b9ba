"""The services that backend-node calls when its settings say so, over TLS on port 443.

GET /range/PREFIX knows one breached password; POST /turnstile/v0/siteverify takes `solved`. Port 8080 answers /health.
Sources: haveibeenpwned.com/API/v3, developers.cloudflare.com/turnstile/get-started/server-side-validation.
"""

import hashlib
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BREACHED = hashlib.sha1(b"a breached pass phrase").hexdigest().upper()


class Outside(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        known = self.path == f"/range/{BREACHED[:5]}"
        self.answer(f"{BREACHED[5:]}:37\r\n" if known else f"{'0' * 35}:0\r\n", "text/plain")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        solved = body == {**body, "secret": "turnstile-secret", "response": "solved"}
        self.answer(json.dumps({"success": solved}), "application/json")

    def answer(self, text: str, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


secured = ThreadingHTTPServer(("0.0.0.0", 443), Outside)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/certificate.pem", "/key.pem")
secured.socket = context.wrap_socket(secured.socket, server_side=True)
threading.Thread(target=secured.serve_forever).start()
ThreadingHTTPServer(("0.0.0.0", 8080), Outside).serve_forever()
