"""Small Spaces, each with a behaviour that was observed in Spaces that run on the Hub.

None of them may have a finding that breaks it. The expected risks and advice are listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

PYTHON = "python:3.11-slim-bookworm"
NODE = "node:24-bookworm-slim"
Files = Mapping[str, str | bytes]


@dataclass(frozen=True)
class Seen:
    """One Space. risk, advice: the rules with a finding of that severity."""

    id: str
    files: Files
    risk: frozenset[str] = field(default_factory=frozenset)
    advice: frozenset[str] = field(default_factory=frozenset)
    sample: bool = False
    """Always run; the others run with --selftest=all."""


def server(start: str = "", answer: str = "self.reply(200, '<h1>It runs</h1>')") -> str:
    """A server of the standard library that ends on SIGTERM. start: lines before it listens.
    answer: its reaction to a GET."""
    return f"""import os, signal, sqlite3, socket, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

{start}

class Handler(BaseHTTPRequestHandler):
    def reply(self, status, text, kind="text/html", **headers):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        {answer}

    do_HEAD = do_GET

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.reply(405, "no")

    def log_message(self, *arguments):
        pass


listening = ThreadingHTTPServer(("0.0.0.0", int(os.environ.get("LISTEN", 7860))), Handler)
# Requests that were accepted are answered before the end.
listening.daemon_threads = False
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=listening.shutdown).start())
listening.serve_forever(poll_interval=0.05)
listening.server_close()
"""


def readme(**keys: object) -> str:
    lines = "".join(f"{name}: {value}\n" for name, value in keys.items())
    return f"---\ntitle: Calibration\nsdk: docker\n{lines}---\n\nIt runs on the Hub.\n"


def python_space(
    *,
    app: str,
    steps: str = "",
    after: str = "",
    cmd: str = '["python", "app.py"]',
    **more: str | bytes,
) -> dict[str, str | bytes]:
    """A Space in Python. steps, after: of the Dockerfile, before and after the app is copied."""
    dockerfile = f"FROM {PYTHON}\nWORKDIR /app\n{steps}COPY app.py .\n{after}CMD {cmd}\n"
    return {"README.md": readme(), "app.py": app, "Dockerfile": dockerfile, **more}


# An action that the image's own user may do and uid 1000 may not.
AS_UID_1000 = frozenset({"start.serves_as_uid_1000"})
READ_ONLY = frozenset({"start.writes_only_home_and_tmp"})
LOSES_DATA = frozenset({"shutdown.starts_again_after_a_kill"})

SPACES = (
    Seen(
        "root-that-writes-beside-its-code",
        python_space(app=server('open("/app/started", "w").close()')),
        advice=AS_UID_1000 | READ_ONLY | LOSES_DATA,
        sample=True,
    ),
    Seen(
        "supervisord",
        python_space(
            app=server(),
            steps="RUN pip install --no-cache-dir supervisor==4.3.0\nCOPY supervisord.conf .\n",
            cmd='["supervisord", "-c", "/app/supervisord.conf"]',
            **{
                "supervisord.conf": "[supervisord]\nnodaemon=true\nuser=root\nlogfile=/app/supervisord.log\n"
                "pidfile=/app/supervisord.pid\n\n[program:app]\ncommand=python /app/app.py\n"
                "stdout_logfile=/dev/stdout\nstdout_logfile_maxbytes=0\nredirect_stderr=true\n"
            },
        ),
        advice=AS_UID_1000 | READ_ONLY,
    ),
    Seen(
        "sqlite-beside-its-code",
        python_space(
            app=server(
                'database = sqlite3.connect("/app/data.db")\n'
                'database.execute("CREATE TABLE IF NOT EXISTS notes (text)")\ndatabase.commit()'
            )
        ),
        risk=LOSES_DATA,
        advice=AS_UID_1000 | READ_ONLY,
        sample=True,
    ),
    Seen(
        "postgres-on-5432",
        python_space(
            app=server(
                'words = open("/proc/net/route").read().split("\\n")[1].split()\n'
                'gateway = ".".join(str(part) for part in bytes.fromhex(words[2])[::-1])\n'
                "socket.socket().connect_ex((gateway, 5432))"
            )
        ),
        advice=frozenset({"start.connects_to_open_ports_only"}),
    ),
    Seen(
        "port-3000-where-nothing-sets-it",
        {
            "README.md": readme(app_port=3000),
            "Dockerfile": f'FROM {NODE}\nWORKDIR /app\nCOPY server.js .\nCMD ["node", "server.js"]\n',
            "server.js": "const server = require('http').createServer((request, response) => response.end('It runs'));\n"
            "server.listen(process.env.PORT || 3000, '0.0.0.0');\n"
            "process.on('SIGTERM', () => server.close(() => process.exit(0)));\n",
        },
        sample=True,
    ),
    Seen(
        "address-of-its-host-name",
        {
            "README.md": readme(),
            "Dockerfile": f'FROM {NODE}\nWORKDIR /app\nCOPY server.js .\nUSER node\nCMD ["node", "server.js"]\n',
            "server.js": "const server = require('http').createServer((request, response) => response.end('It runs'));\n"
            "server.listen(7860, process.env.HOSTNAME);\n"
            "process.on('SIGTERM', () => server.close(() => process.exit(0)));\n",
        },
    ),
    Seen(
        "one-request-at-a-time",
        python_space(
            app=server().replace("ThreadingHTTPServer", "HTTPServer"),
            steps="RUN useradd --create-home --uid 1000 user\n",
            after="USER user\n",
        ),
    ),
    Seen(
        "init-that-waits-for-signals",
        python_space(
            app=server(),
            steps="RUN apt-get update && apt-get install -y --no-install-recommends tini=0.* && rm -rf /var/lib/apt/lists/*\n"
            "RUN useradd --create-home --uid 1000 user\n",
            after='USER user\nENTRYPOINT ["tini", "--"]\n',
        ),
    ),
    Seen(
        "init-whose-app-has-no-handler",
        python_space(
            app=server().replace("signal.signal(signal.SIGTERM", "print(signal.SIGTERM"),
            steps="RUN apt-get update && apt-get install -y --no-install-recommends tini=0.* && rm -rf /var/lib/apt/lists/*\n"
            "RUN useradd --create-home --uid 1000 user\n",
            after='USER user\nENTRYPOINT ["tini", "--"]\n',
        ),
        advice=frozenset({"shutdown.finishes_requests_in_flight"}),
    ),
    Seen(
        "command-of-the-base-image",
        {
            "README.md": readme(),
            "Dockerfile": "FROM caddy:2\nCOPY Caddyfile /etc/caddy/Caddyfile\nCOPY index.html /srv/index.html\n",
            "Caddyfile": ":7860 {\n\troot * /srv\n\tfile_server\n}\n",
            "index.html": "<!doctype html><title>T</title><h1>It runs</h1>",
        },
        advice=LOSES_DATA,
    ),
    Seen(
        "healthcheck-that-cannot-fail",
        python_space(app=server(), after='HEALTHCHECK CMD ["python", "-c", "pass"]\n'),
        advice=frozenset({"health.health_command_fails_with_the_app"}),
    ),
    Seen(
        "front-page-not-found",
        python_space(
            app=server(
                answer="self.reply(200, '{}', 'application/json') if self.path == '/api' else self.reply(404, 'not here')"
            )
        ),
        risk=frozenset({"start.front_page_answers"}),
    ),
    Seen(
        "npm-start",
        {
            "README.md": readme(),
            "Dockerfile": f'FROM {NODE}\nWORKDIR /app\nCOPY package.json server.js ./\nCMD ["npm", "start"]\n',
            "package.json": '{"name": "calibration", "private": true, "scripts": {"start": "node server.js"}}\n',
            "server.js": "const server = require('http').createServer((request, response) => response.end('It runs'));\n"
            "server.listen(7860, '0.0.0.0');\n"
            "process.on('SIGTERM', () => server.close(() => process.exit(0)));\n",
        },
        advice=frozenset({"dockerfile.runs_no_development_server", "shutdown.ends_on_sigterm"}),
    ),
    Seen(
        "owners-set-by-chown",
        python_space(
            app=server(),
            steps="RUN useradd --create-home --uid 1000 user\n",
            after="RUN chown -R user:user /app\nUSER user\n",
        ),
        advice=frozenset({"dockerfile.owners_are_set_where_files_arrive"}),
    ),
    Seen(
        "cors-for-all-with-credentials",
        python_space(
            app=server(
                answer="self.reply(200, 'It runs', Access_Control_Allow_Origin='*', Access_Control_Allow_Credentials='true')"
            )
        ),
        risk=frozenset({"cors.shares_no_credentials_with_every_origin"}),
        sample=True,
    ),
    Seen(
        "single-page-app-at-every-path",
        python_space(
            app=server(
                answer="self.reply(200, '<!doctype html><title>App</title><p>Built with 3.2.1 and 18.3.1')"
            )
        ),
        sample=True,
    ),
    Seen(
        "gunicorn-with-two-workers",
        python_space(
            app="from flask import Flask\n\napp = Flask(__name__)\n\n\n@app.get('/')\ndef page():\n    return 'It runs'\n",
            steps="RUN pip install --no-cache-dir flask==3.1.2 gunicorn==23.0.0\n",
            cmd='["gunicorn", "--workers", "2", "--bind", "0.0.0.0:7860", "app:app"]',
        ),
    ),
    Seen(
        "streamlit",
        python_space(
            app="import streamlit\n\nstreamlit.title('It runs')\n",
            steps="RUN pip install --no-cache-dir streamlit==1.50.0\n",
            cmd='["streamlit", "run", "app.py", "--server.port=7860", "--server.address=0.0.0.0"]',
        ),
        advice=frozenset({"shutdown.finishes_requests_in_flight"}),
    ),
    Seen(
        "user-10001",
        python_space(
            app=server('open("/app/started", "w").close()'),
            steps="RUN useradd --create-home --uid 10001 runner && chown runner /app\n",
            after="USER 10001\n",
        ),
        advice=AS_UID_1000 | READ_ONLY | LOSES_DATA,
    ),
    Seen(
        "two-files-copied-to-here",
        {
            **python_space(app=server()),
            "settings.py": "LEVEL = 1\n",
            "Dockerfile": f'FROM {PYTHON}\nWORKDIR /app\nCOPY app.py settings.py .\nCMD ["python", "app.py"]\n',
        },
    ),
    Seen(
        "shell-form-and-no-port-exposed",
        python_space(app=server(), cmd="python app.py"),
        advice=frozenset({"dockerfile.app_gets_the_stop_signal", "shutdown.ends_on_sigterm"}),
    ),
    Seen(
        "requirements-in-utf-16",
        {
            **python_space(app=server()),
            "requirements.txt": "six==1.17.0\r\n".encode("utf-16"),
            "Dockerfile": f"FROM {PYTHON}\nWORKDIR /app\nCOPY requirements.txt .\n"
            "RUN pip install --no-cache-dir -r requirements.txt\nCOPY app.py .\n"
            'CMD ["python", "app.py"]\n',
        },
    ),
    Seen(
        "worker-that-logs-warnings",
        python_space(
            app=server(
                'print("WARNING: worker 1 exited with code 1, restarting", flush=True)\n'
                'print("DeprecationWarning: this will be an error", file=sys.stderr, flush=True)'
            )
        ),
        advice=frozenset({"start.starts_without_alarms"}),
    ),
)
