"""Spaces with a fault in the declaration or the Dockerfile, and Spaces that get advice alone."""

from __future__ import annotations

from preflight.model.problems import Severity
from tests.selftest.cases import CMD, POINTER, Broken, database, declared, dockerfile, readme

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
        edit=dockerfile("ENV PYTHONUNBUFFERED=1", "ENV PYTHONUNBUFFERED=1 SIGNER_NAME=Preflight"),
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
        "hardware-that-the-hub-does-not-document",
        "metadata.suggested_hardware_exists",
        severity=Severity.ADVICE,
        edit={"README.md": [("license: mit", "license: mit\nsuggested_hardware: cpu-xl")]},
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
