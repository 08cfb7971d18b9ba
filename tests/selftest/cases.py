"""Broken Spaces: a sound one of `spaces/` with one change each, and the check that must see it.

That check has to find it, at its own severity or the one named, and no other. `edit` replaces text,
`files` writes files (None deletes one, a path is a symbolic link's target); both are committed. `earlier` is committed first and
deleted again, so that it is in the history alone. `uncommitted` is written after the commit. `git`
are git commands run at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

from preflight.model.problems import Severity

Edits = dict[str, list[tuple[str, str]]]


@dataclass(frozen=True)
class Broken:
    """One broken Space. `needs` is what it takes to see the fault: its folder, or its container."""

    id: str
    check: str
    severity: Severity | None = None
    """None for the check's own."""
    edit: Edits = field(default_factory=dict)
    files: Mapping[str, str | bytes | PurePath | None] = field(default_factory=dict)
    earlier: dict[str, str | bytes] = field(default_factory=dict)
    uncommitted: dict[str, str | bytes] = field(default_factory=dict)
    git: tuple[tuple[str, ...], ...] = ()
    base: str = "sound"
    folder: str | None = None
    """The folder's name; None for the id."""
    needs: str = "folder"
    hub: tuple[str, ...] = ()
    """Settings of the rehearsal for this Space, as in `--hub NAME=VALUE`."""
    sample: bool = False
    """Run always; the others with --selftest=all."""


def readme(old: str, new: str) -> Edits:
    return {"README.md": [(old, new)]}


def dockerfile(old: str, new: str) -> Edits:
    return {"Dockerfile": [(old, new)]}


def declared(old: str, new: str) -> Edits:
    return {".env.example": [(old, new)]}


def database(binding: str) -> Edits:
    """One more variable, declared as `binding`, read by the code."""
    return {
        **declared("# Origins", f"# Where signers are kept.\n# @optional\n{binding}\n\n# Origins"),
        "app.py": [("PORT = 7860", 'PORT = 7860\nDATABASE = os.environ.get("DATABASE_URL")')],
    }


CMD = 'CMD ["python", "app.py"]'
# Put together here, so that nobody who scans this repository takes it for a key.
TOKEN = "hf_" + "QwErTyUiOpAsDfGhJkLzXcVbNm12345678"
# The head of a PNG: a file of a kind that has a NUL near its beginning.
IMAGE = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(range(256))
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize {{size}}\n"

METADATA = (
    Broken(
        "no-front-matter",
        "metadata.front_matter_is_recognised",
        files={"README.md": "# Signer\n\nSIGNING_KEY and SIGNER_NAME are required.\n"},
        sample=True,
    ),
    Broken(
        "front-matter-below-text",
        "metadata.front_matter_is_recognised",
        edit=readme("---\ntitle", "Hello.\n\n---\ntitle"),
    ),
    Broken(
        "front-matter-not-closed",
        "metadata.front_matter_is_recognised",
        edit=readme("license: mit\n---", "license: mit\n"),
    ),
    Broken(
        "front-matter-closed-with-text",
        "metadata.front_matter_is_recognised",
        edit=readme("license: mit\n---", "license: mit\n--- end"),
    ),
    Broken(
        "front-matter-with-tab",
        "metadata.front_matter_is_recognised",
        edit=readme("license: mit", "tags:\n\t- signing\nlicense: mit"),
    ),
    Broken(
        "front-matter-with-colon",
        "metadata.front_matter_is_recognised",
        edit=readme("title: Signer", "title: Signer: the best"),
    ),
    Broken(
        "byte-order-mark",
        "metadata.block_is_at_the_first_byte",
        edit=readme("---\ntitle", "\ufeff---\ntitle"),
    ),
    Broken(
        "key-twice",
        "metadata.keys_stand_once",
        edit=readme("license: mit", "license: mit\ntitle: Signer"),
        sample=True,
    ),
    Broken("no-sdk", "metadata.sdk_is_docker", edit=readme("sdk: docker\n", ""), sample=True),
    Broken("sdk-gradio", "metadata.sdk_is_docker", edit=readme("sdk: docker", "sdk: gradio")),
    Broken(
        "pinned-as-text",
        "metadata.values_have_their_type",
        edit=readme("license: mit", "license: mit\npinned: yes"),
    ),
    Broken(
        "port-in-quotes",
        "metadata.values_have_their_type",
        edit=readme("app_port: 7860", 'app_port: "7860"'),
    ),
    Broken(
        "tags-as-text",
        "metadata.values_have_their_type",
        edit=readme("license: mit", "license: mit\ntags: signing"),
    ),
    Broken(
        "port-80",
        "metadata.app_port_is_unprivileged",
        edit={
            "README.md": [("app_port: 7860", "app_port: 80")],
            "Dockerfile": [("EXPOSE 7860", "EXPOSE 80"), ("127.0.0.1:7860", "127.0.0.1:80")],
            "app.py": [("PORT = 7860", "PORT = 80")],
        },
        sample=True,
    ),
    Broken(
        "colour-orange",
        "metadata.colours_are_known",
        edit=readme("colorFrom: indigo", "colorFrom: orange"),
    ),
    Broken(
        "colour-hex",
        "metadata.colours_are_known",
        edit=readme("colorTo: gray", 'colorTo: "#808080"'),
    ),
    Broken("emoji-word", "metadata.emoji_is_one", edit=readme("emoji: 🖋️", "emoji: pen")),
    Broken(
        "description-61",
        "metadata.short_description_is_short",
        edit=readme("Signs short texts with a key that stays secret", "x" * 61),
    ),
    Broken(
        "license-unknown", "metadata.license_is_known", edit=readme("license: mit", "license: MIT")
    ),
    Broken(
        "hardware-unknown",
        "metadata.suggested_hardware_exists",
        edit=readme("license: mit", "license: mit\nsuggested_hardware: h100"),
    ),
    Broken(
        "header-big",
        "metadata.header_is_known",
        edit=readme("license: mit", "license: mit\nheader: big"),
    ),
    Broken(
        "custom-header-other",
        "metadata.custom_headers_are_allowed",
        edit=readme("license: mit", "license: mit\ncustom_headers:\n  x-frame-options: DENY"),
    ),
    Broken(
        "custom-header-upper-case",
        "metadata.custom_headers_are_allowed",
        edit=readme(
            "license: mit",
            "license: mit\ncustom_headers:\n  Cross-Origin-Opener-Policy: same-origin",
        ),
    ),
    Broken(
        "startup-soon",
        "metadata.startup_duration_is_one",
        edit=readme("license: mit", "license: mit\nstartup_duration_timeout: soon"),
    ),
    Broken(
        "base-path-relative",
        "metadata.base_path_is_absolute",
        edit=readme("license: mit", "license: mit\nbase_path: docs"),
    ),
    Broken(
        "scope-unknown",
        "metadata.oauth_scopes_exist",
        edit=readme("license: mit", "license: mit\nhf_oauth: true\nhf_oauth_scopes: [write-all]"),
    ),
    Broken(
        "oauth-too-long",
        "metadata.oauth_expiration_is_allowed",
        edit=readme(
            "license: mit", "license: mit\nhf_oauth: true\nhf_oauth_expiration_minutes: 50000"
        ),
    ),
)

PUSH = (
    Broken(
        "large-file-in-history",
        "push.files_are_small_enough",
        earlier={"corpus.txt": "one line of a corpus\n" * (11 * 1024 * 1024 // 21)},
        sample=True,
    ),
    Broken("raw-image", "push.binaries_are_in_lfs", files={"logo.png": IMAGE}, sample=True),
    Broken("raw-image-in-history", "push.binaries_are_in_lfs", earlier={"logo.png": IMAGE}),
    Broken(
        "too-much-in-lfs",
        "push.repository_fits",
        earlier={"model.bin": POINTER.format(size=2 * 1024**3)},
    ),
    Broken(
        "dotenv-in-history",
        "push.dotenv_is_not_committed",
        earlier={".env": "SIGNING_KEY=not-so-secret-now\n"},
        sample=True,
    ),
    Broken(
        "token-in-code",
        "push.no_key_is_committed",
        edit={"app.py": [("PORT = 7860", f'PORT = 7860\nTOKEN = "{TOKEN}"')]},
    ),
    Broken(
        "token-in-history",
        "push.no_key_is_committed",
        earlier={"notes.txt": f"for later: {TOKEN}\n"},
    ),
    Broken(
        "lfs-pointer",
        "push.lfs_content_is_there",
        files={
            "model.bin": POINTER.format(size=1000),
            ".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n",
        },
    ),
    Broken(
        "dockerfile-elsewhere",
        "push.dockerfile_is_at_the_root",
        files={"Dockerfile": None, "docker/Dockerfile": "FROM scratch\n"},
        sample=True,
    ),
    Broken(
        "source-missing",
        "push.build_files_are_committed",
        edit=dockerfile(
            "COPY --chown=1000:1000 app.py .", "COPY --chown=1000:1000 app.py missing.py ./"
        ),
    ),
    Broken(
        "source-ignored-by-git",
        "push.build_files_are_committed",
        edit={
            "Dockerfile": [("app.py .\n", "app.py .\nCOPY dist dist\n")],
            ".dockerignore": [("!app.py", "!app.py\n!dist")],
        },
        files={".gitignore": "dist/\n"},
        uncommitted={"dist/page.html": "<p>built here alone</p>\n"},
        sample=True,
    ),
    Broken(
        "source-untracked",
        "push.build_files_are_committed",
        edit={
            "Dockerfile": [("app.py .", "app.py words.txt ./")],
            ".dockerignore": [("!app.py", "!app.py\n!words.txt")],
        },
        uncommitted={"words.txt": "forgotten\n"},
    ),
    Broken(
        "source-left-out-by-dockerignore",
        "push.build_files_are_committed",
        edit=dockerfile("app.py .", "app.py README.md ./"),
    ),
    Broken(
        "variable-and-secret",
        "push.names_do_not_collide",
        edit=declared("# Origins", "# The same again, as a Variable.\nSIGNING_KEY=\n\n# Origins"),
    ),
    Broken(
        "subdomain-64",
        "push.name_fits_the_hub",
        severity=Severity.ADVICE,
        git=(("remote", "add", "hub", f"https://huggingface.co/spaces/acme/{'s' * 59}"),),
    ),
    Broken(
        "name-with-two-hyphens",
        "push.name_fits_the_hub",
        git=(("remote", "add", "hub", "https://huggingface.co/spaces/acme/my--space"),),
    ),
)

DECLARATION = (
    Broken(
        "decorator-unknown",
        "declaration.can_be_read",
        edit=declared("# @required @example=Preflight", "# @requird @example=Preflight"),
        sample=True,
    ),
    Broken(
        "line-malformed", "declaration.can_be_read", edit=declared("SIGNER_NAME=", "SIGNER_NAME:")
    ),
    Broken(
        "condition-on-nothing",
        "declaration.can_be_read",
        edit=declared("# @required @example", "# @required=forEq($MODE, full) @example"),
    ),
    Broken(
        "secret-with-value",
        "declaration.secrets_have_no_value",
        edit=declared("SIGNING_KEY=", "SIGNING_KEY=a-key-that-everybody-who-clones-can-read-1234"),
        sample=True,
    ),
    Broken(
        "variable-without-words",
        "declaration.every_variable_is_described",
        edit=declared("# Name that stands beside each signature.\n", ""),
    ),
    Broken(
        "code-reads-more",
        "declaration.code_reads_what_is_declared",
        edit={
            "app.py": [("PORT = 7860", 'PORT = 7860\nTHEME = os.environ.get("SIGNER_THEME", "")')]
        },
        sample=True,
    ),
    Broken(
        "declared-for-nothing",
        "declaration.what_is_declared_is_read",
        edit=declared(
            "# Origins", "# Colours of the page.\n# @optional\nSIGNER_THEME=\n\n# Origins"
        ),
    ),
    Broken(
        "readme-forgot-one",
        "declaration.readme_names_what_is_required",
        edit=readme("`SIGNER_NAME`  | Variable", "`SIGNER`       | Variable"),
    ),
    Broken(
        "database-on-a-closed-port",
        "declaration.services_are_on_open_ports",
        severity=Severity.ADVICE,
        edit=database("DATABASE_URL=postgresql+asyncpg://db.example.com/signers"),
        sample=True,
    ),
    Broken(
        "mail-server-by-default",
        "declaration.services_are_on_open_ports",
        edit=database("DATABASE_URL=smtp://mail.example.com"),
    ),
    Broken(
        "requires-what-the-hub-sets",
        "declaration.hub_variables_are_not_entered",
        edit={
            ".env.example": [("# Origins", "# Host.\n# @required\nSPACE_HOST=\n\n# Origins")],
            "app.py": [("PORT = 7860", 'PORT = 7860\nHOST = os.environ.get("SPACE_HOST", "")')],
            "README.md": [("# Signer", "# Signer\n\nServes `SPACE_HOST`.")],
        },
    ),
)

DOCKERFILE = (
    Broken(
        "instruction-unknown",
        "dockerfile.can_be_read",
        edit=dockerfile("EXPOSE 7860", "EXPOSES 7860"),
        sample=True,
    ),
    Broken("instruction-bare", "dockerfile.can_be_read", edit=dockerfile("EXPOSE 7860", "EXPOSE")),
    Broken("dockerfile-empty", "dockerfile.can_be_read", files={"Dockerfile": "# later\n"}),
    Broken(
        "command-in-shell-form",
        "dockerfile.app_gets_the_stop_signal",
        edit=dockerfile(CMD, "CMD python app.py"),
        sample=True,
    ),
    Broken(
        "reloader",
        "dockerfile.runs_no_development_server",
        edit=dockerfile(CMD, 'CMD ["uvicorn", "app:app", "--host", "0.0.0.0", "--reload"]'),
    ),
    Broken(
        "package-manager-first",
        "dockerfile.runs_no_development_server",
        severity=Severity.ADVICE,
        edit=dockerfile(CMD, 'CMD ["npm", "start"]'),
    ),
    Broken(
        "flask-run",
        "dockerfile.runs_no_development_server",
        edit=dockerfile(CMD, 'CMD ["flask", "--app", "app", "run", "--host=0.0.0.0"]'),
    ),
    Broken(
        "development-mode",
        "dockerfile.runs_no_development_server",
        edit=dockerfile("ENV PYTHONUNBUFFERED=1", "ENV PYTHONUNBUFFERED=1 FLASK_DEBUG=1"),
    ),
    Broken(
        "base-latest",
        "dockerfile.base_image_has_a_version",
        edit=dockerfile("python:3.11-slim-bookworm", "python:latest"),
    ),
    Broken(
        "base-untagged",
        "dockerfile.base_image_has_a_version",
        edit=dockerfile("python:3.11-slim-bookworm", "python"),
    ),
    Broken(
        "chown-layer",
        "dockerfile.owners_are_set_where_files_arrive",
        edit=dockerfile("USER 1000", "RUN chown -R 1000:1000 /app\n\nUSER 1000"),
    ),
    Broken(
        "uid-taken",
        "dockerfile.uid_1000_is_free",
        edit={
            "Dockerfile": [
                ("python:3.11-slim-bookworm", "node:24-bookworm-slim"),
                (CMD, 'CMD ["node", "app.js"]'),
                ("ENV PYTHONUNBUFFERED=1", "ENV NODE_ENV=production"),
            ]
        },
        sample=True,
    ),
    Broken(
        "secret-as-argument",
        "dockerfile.no_secret_is_an_argument",
        edit=dockerfile("ENV PYTHON", "ARG SIGNING_KEY\nENV PYTHON"),
        sample=True,
    ),
    Broken(
        "secret-in-env",
        "dockerfile.no_secret_is_an_argument",
        edit=dockerfile(
            "ENV PYTHONUNBUFFERED=1", "ENV PYTHONUNBUFFERED=1 SIGNING_KEY=changed-later"
        ),
    ),
    Broken(
        "default-in-image",
        "dockerfile.no_required_variable_has_a_default",
        edit=dockerfile("ENV PYTHONUNBUFFERED=1", "ENV PYTHONUNBUFFERED=1 SIGNER_NAME=nobody"),
    ),
    Broken(
        "health-by-curl",
        "dockerfile.health_command_is_in_the_image",
        edit=dockerfile(
            '["python", "-c", "from urllib.request import urlopen; '
            "urlopen('http://127.0.0.1:7860/health', timeout=2)\"]",
            '["curl", "--fail", "http://127.0.0.1:7860/health"]',
        ),
    ),
    Broken("expose-other", "dockerfile.ports_agree", edit=dockerfile("EXPOSE 7860", "EXPOSE 8000")),
    Broken(
        "health-port-other",
        "dockerfile.ports_agree",
        edit=dockerfile("127.0.0.1:7860", "127.0.0.1:8000"),
    ),
    Broken(
        "add-for-copy",
        "dockerfile.hadolint_finds_no_error",
        edit=dockerfile("COPY --chown", "ADD --chown"),
    ),
)

WARNED = (
    Broken(
        "key-of-no-use",
        "metadata.values_have_their_type",
        severity=Severity.ADVICE,
        edit=readme("license: mit", "license: mit\ndockerfile: docker/Dockerfile"),
    ),
    Broken(
        "two-emoji",
        "metadata.emoji_is_one",
        severity=Severity.ADVICE,
        edit=readme("emoji: 🖋️", "emoji: 🖋️🔏"),
    ),
    Broken(
        "blank-line-first",
        "metadata.front_matter_is_recognised",
        severity=Severity.ADVICE,
        edit=readme("---\ntitle", "\n---\ntitle"),
    ),
    Broken(
        "nearly-full",
        "push.repository_fits",
        severity=Severity.ADVICE,
        earlier={"model.bin": POINTER.format(size=900 * 1024**2)},
    ),
    Broken(
        "change-not-committed",
        "push.build_files_are_committed",
        severity=Severity.ADVICE,
        uncommitted={"notes.txt": "for tomorrow\n"},
        sample=True,
    ),
    Broken(
        "declares-what-the-hub-sets",
        "declaration.hub_variables_are_not_entered",
        severity=Severity.ADVICE,
        edit=declared("# Origins", "# `spaces` on the Hub.\n# @optional\nSYSTEM=\n\n# Origins"),
    ),
    Broken(
        "database-of-this-machine-on-a-closed-port",
        "declaration.services_are_on_open_ports",
        severity=Severity.ADVICE,
        edit=database("DATABASE_URL="),
        files={".gitignore": ".env\n"},
        uncommitted={".env": "DATABASE_URL=postgres://signer:password@db.example.com/signers\n"},
        sample=True,
    ),
    Broken(
        "dotenv-of-a-mode",
        "push.dotenv_is_not_committed",
        severity=Severity.ADVICE,
        files={".env.production": "PUBLIC_TITLE=Signer\n"},
    ),
    Broken(
        "shell-form-and-no-promise",
        "dockerfile.app_gets_the_stop_signal",
        severity=Severity.ADVICE,
        base="promises_nothing",
        edit=dockerfile('["python", "-m", "http.server", "7860"]', "python -m http.server 7860"),
    ),
    Broken(
        "folder-name",
        "push.name_fits_the_hub",
        severity=Severity.ADVICE,
        folder="my  space",
    ),
)

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
    "            for one in self.settings.origins:\n"
    "                if str(origin).startswith(one):\n"
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
from http.server import BaseHTTPRequestHandler, HTTPServer


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
        "shutdown.ends_when_told_to",
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

BROKEN = (
    *(METADATA + PUSH + DECLARATION + DOCKERFILE + WARNED),
    *(START + ENVIRONMENT + CORS + SHUTDOWN),
)
SOUND = (
    *("sound", "fastapi", "flask_gunicorn", "express", "static_files", "static_binary"),
    "promises_nothing",
)
