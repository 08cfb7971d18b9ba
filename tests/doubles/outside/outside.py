"""Stand-ins for the external services of backend-node, over TLS on port 443; port 8080 answers /health.

haveibeenpwned.com knows a single breached password. Turnstile accepts `solved`. GitHub and Hugging Face sign in the
user whose mail address is the code: `ada@example.com`. GitHub reports each address as verified. Hugging Face reports
`verified-…` as verified and any other address as "false".
Sources: haveibeenpwned.com/API/v3, developers.cloudflare.com/turnstile/get-started/server-side-validation,
docs.github.com/apps/oauth-apps/building-oauth-apps, huggingface.co/docs/hub/oauth.
"""

import hashlib
import json
import ssl
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

BREACHED = hashlib.sha1(b"a breached pass phrase").hexdigest().upper()


class Outside(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        mail = (self.headers["Authorization"] or "").removeprefix("Bearer token-of-")
        number = zlib.crc32(mail.encode())
        if self.path.startswith("/range/"):
            known = self.path == f"/range/{BREACHED[:5]}"
            self.answer(f"{BREACHED[5:]}:37\r\n" if known else f"{'0' * 35}:0\r\n", "text/plain")
        elif self.path == "/user":
            self.answer_json({"id": number, "login": "ada", "name": "Ada", "email": mail})
        elif self.path == "/user/emails":
            self.answer_json([{"email": mail, "primary": True, "verified": True}])
        elif self.path == "/oauth/userinfo":
            claims = {"sub": str(number), "name": "Ada", "email": mail}
            verified = True if mail.startswith("verified-") else "false"
            self.answer_json({**claims, "email_verified": verified})
        else:
            self.answer_json({"status": "ok"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.path == "/turnstile/v0/siteverify":
            given = json.loads(body)
            solved = given == {**given, "secret": "turnstile-secret", "response": "solved"}
            self.answer_json({"success": solved})
        else:
            form = parse_qs(body)
            mail = form.get("code", form.get("refresh_token", [""]))[0]
            token = {"access_token": f"token-of-{mail}", "refresh_token": mail}
            self.answer_json({**token, "token_type": "bearer", "expires_in": 3600})

    def answer_json(self, value: object) -> None:
        self.answer(json.dumps(value), "application/json")

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
