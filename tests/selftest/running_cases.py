"""Spaces whose fault appears only when they are built and run: like `cases`, with one change each."""

from __future__ import annotations

from preflight.model.problems import Severity
from tests.selftest.cases import CMD, dockerfile
from tests.selftest.running_parts import (
    HEALTH,
    KEY,
    LISTEN,
    PROBE,
    READ_ONLY,
    SERVE,
    USER,
    Running,
    app,
    connecting,
    with_directory,
)

START = (
    Running(
        "loopback-alone",
        "start.serves",
        edit=app((LISTEN, LISTEN.replace("0.0.0.0", "127.0.0.1"))),
        sample=True,
    ),
    Running(
        "closes-instead-of-refusing",
        "start.answers_in_http",
        edit=app(
            (
                '        self.answer(405, {"error": "method not allowed"}',
                """        if self.command == "DELETE":
            self.close_connection = True
            return False
        self.answer(405, {"error": "method not allowed"}""",
            )
        ),
    ),
    Running(
        "another-port",
        "start.serves",
        edit=app((LISTEN, LISTEN.replace("PORT", "8000"))),
        hub=("start_deadline=4",),
    ),
    Running("comes-to-its-end", "start.serves", edit=app((SERVE, ""))),
    Running(
        "crashes-at-each-start",
        "start.serves",
        edit=app((LISTEN, f"import no_such_module\n    {LISTEN}")),
    ),
    Running(
        "crashes-after-its-first-answer",
        "start.serves",
        edit=app((SERVE, f"    threading.Timer(0.7, os._exit, [1]).start()\n{SERVE}")),
    ),
    Running(
        "warms-up-before-it-listens",
        "start.serves",
        edit=app((LISTEN, f"time.sleep(60)\n    {LISTEN}")),
        hub=("start_deadline=4",),
    ),
    Running(
        "accepts-and-never-answers",
        "start.serves",
        edit=app((SERVE, "    time.sleep(60)")),
        hub=("start_deadline=4",),
    ),
    Running(
        "worker-crashes-over-and-over",
        "start.serves",
        edit={
            "Dockerfile": [
                (
                    CMD,
                    'CMD ["python", "-c", "import subprocess, time\\nwhile True: '
                    "print('worker exited with code', subprocess.call(['false'])); "
                    'time.sleep(0.2)"]',
                )
            ]
        },
        hub=("start_deadline=4",),
    ),
    Running(
        "writes-where-root-owns",
        "start.serves",
        edit=app((LISTEN, f'open("/app/state", "w").close()\n    {LISTEN}')),
    ),
    Running(
        "command-misspelt",
        "start.serves",
        edit=dockerfile(CMD, 'CMD ["pyhton", "app.py"]'),
    ),
    Running(
        "out-of-memory",
        "start.serves",
        edit=app((LISTEN, f"held = [bytearray(1 << 20) for _ in range(400)]\n    {LISTEN}")),
        hub=("memory=100000000",),
    ),
    Running(
        "front-page-fails",
        "start.front_page_answers",
        also=("start.starts_without_alarms",),
        edit=app(
            (READ_ONLY, f'        if self.route == "/":\n            raise ValueError\n{READ_ONLY}')
        ),
    ),
    Running(
        "base-path-does-not-exist",
        "start.front_page_answers",
        edit={"README.md": [("license: mit", "license: mit\nbase_path: /docs")]},
    ),
    Running(
        "head-not-allowed",
        "start.front_page_answers_head",
        edit=app(
            (
                "    do_HEAD = do_GET\n",
                "    def do_HEAD(self) -> None:\n        self.handle_with(lambda: self.allowed_only(()))\n",
            )
        ),
    ),
    Running(
        "writes-beside-its-code",
        "start.writes_only_home_and_tmp",
        also=("shutdown.starts_again_after_a_kill",),
        edit={
            "Dockerfile": [("WORKDIR /app", "RUN install -d -o user -g user /app\nWORKDIR /app")],
            "app.py": [(LISTEN, f'open("/app/state", "w").close()\n    {LISTEN}')],
        },
    ),
    Running(
        "read-by-root-alone",
        "start.serves_as_uid_1000",
        severity=Severity.ADVICE,
        edit={"Dockerfile": [("COPY --chown=1000:1000", "COPY --chmod=600"), ("USER 1000\n", "")]},
        files={"preflight.toml": None},
    ),
    Running(
        "connects-to-a-database",
        "start.connects_to_open_ports_only",
        severity=Severity.ADVICE,
        edit=connecting(5432),
    ),
    Running("connects-to-a-mail-server", "start.connects_to_open_ports_only", edit=connecting(587)),
    Running(
        "connects-to-a-database-by-the-documentation",
        "start.connects_to_open_ports_only",
        severity=Severity.BREAKS,
        edit=connecting(5432),
        hub=("documented",),
    ),
)

FLOOD = """    def flood() -> None:
        while True:
            sys.stdout.write("x" * 9999 + chr(10))
            time.sleep(0.00001)

    for _ in range(200):
        sys.stdout.write("x" * 9999 + chr(10))
    threading.Thread(target=flood, daemon=True).start()
"""
HOSTILE = (
    Running(
        "floods-its-log",
        "start.starts_without_alarms",
        severity=Severity.ADVICE,
        edit=app((SERVE, FLOOD + SERVE)),
    ),
)

IMAGE = (
    Running("step-fails", "image.builds", edit=dockerfile(USER, f"{USER}\nRUN false")),
    Running(
        "step-hangs",
        "image.builds",
        edit=dockerfile(USER, f"{USER}\nRUN sleep 120"),
        hub=("build_deadline=8",),
    ),
    Running(
        "uid-taken-by-an-earlier-step",
        "image.builds",
        edit=dockerfile(USER, f"{USER} && useradd --uid 1000 again"),
    ),
    Running("runs-as-root", "image.user_is_uid_1000", edit=dockerfile("USER 1000\n", "")),
    Running(
        "runs-as-another-user",
        "image.user_is_uid_1000",
        edit={
            "Dockerfile": [
                (USER, f"{USER} && useradd --uid 1001 other"),
                ("USER 1000\n", "USER other\n"),
            ]
        },
    ),
    Running(
        "home-of-root",
        "image.home_and_tmp_are_writable",
        edit=dockerfile(USER, f"{USER} && chown root:root /home/user"),
    ),
    Running(
        "tmp-is-closed",
        "image.home_and_tmp_are_writable",
        edit=dockerfile(USER, f"{USER} && chmod 755 /tmp"),
    ),
    Running(
        "secret-in-a-layer",
        "image.keeps_no_secret",
        edit=dockerfile(
            USER,
            f"{USER}\nRUN --mount=type=secret,id=SIGNING_KEY,required=true cp /run/secrets/SIGNING_KEY /srv/key",
        ),
        sample=True,
    ),
    Running(
        "secret-needed-by-the-build",
        "image.builds_without_secrets",
        edit=dockerfile(
            USER, f"{USER}\nRUN --mount=type=secret,id=SIGNING_KEY test -s /run/secrets/SIGNING_KEY"
        ),
    ),
    Running(
        "secret-deleted-by-a-later-step",
        "image.keeps_no_secret",
        edit=dockerfile(
            USER,
            f"{USER}\nRUN --mount=type=secret,id=SIGNING_KEY,required=true cp /run/secrets/SIGNING_KEY /srv/key\n"
            "RUN rm /srv/key",
        ),
    ),
    Running(
        "secret-in-the-environment",
        "image.keeps_no_secret",
        edit=dockerfile("ENV PYTHONUNBUFFERED=1", f"ENV PYTHONUNBUFFERED=1 KEPT={KEY}"),
    ),
    Running(
        "secret-in-a-label",
        "image.keeps_no_secret",
        edit=dockerfile("USER 1000", f"LABEL kept={KEY}\nUSER 1000"),
    ),
    Running(
        "layer-too-large",
        "image.size_is_within_budget",
        edit=dockerfile(USER, f"{USER} && head -c 3000000 /dev/urandom >/srv/model"),
        # Smaller than the base image alone.
        hub=("image_budget=1000000",),
    ),
    Running(
        "deletes-in-a-later-step",
        "image.wastes_no_space",
        edit=dockerfile(
            USER, f"{USER} && head -c 3000000 /dev/urandom >/srv/cache\nRUN rm /srv/cache"
        ),
        hub=("waste_budget=2000000",),
    ),
)

HEALTH_CASES = (
    Running(
        "health-in-words",
        "health.has_its_shape",
        edit=app(
            (HEALTH, HEALTH.replace('{"status": "ok", "version": "1.0", "services": {}}', '"fine"'))
        ),
    ),
    Running(
        "health-without-services",
        "health.has_its_shape",
        edit=app((HEALTH, HEALTH.replace(', "services": {}', ""))),
    ),
    Running(
        "health-is-slow",
        "health.answers_fast",
        edit=app((HEALTH, f"time.sleep(0.07)\n            {HEALTH}")),
    ),
    Running(
        "health-tells-the-key",
        "health.gives_nothing_away",
        edit=app((HEALTH, HEALTH.replace("{}})", '{}, "key": self.settings.key})'))),
    ),
    Running(
        "health-tells-versions",
        "health.gives_nothing_away",
        edit=app((HEALTH, HEALTH.replace("{}})", '{}, "runtime": sys.version.split()[0]})'))),
    ),
    Running(
        "health-waits-for-a-dependency",
        "health.waits_for_no_dependency",
        edit=with_directory(
            (
                HEALTH,
                'lost = "disconnected" if down() else "connected"\n            '
                'self.answer(200, {"status": "degraded" if lost[0] == "d" else "ok", "version": "1.0", "services": {"directory": lost}})',
            ),
        ),
    ),
    Running(
        "outage-does-not-show",
        "health.outage_of_a_dependency_shows",
        edit=with_directory(),
    ),
    Running(
        "health-fails-with-a-dependency",
        "health.outage_of_a_dependency_shows",
        edit=with_directory(
            (
                HEALTH,
                f"if os.environ.get('DIRECTORY_URL'):\n                return self.answer(500, {{}})\n            {HEALTH}",
            )
        ),
        sample=True,
    ),
    Running(
        "health-command-does-not-exist",
        "health.health_command_passes_while_it_serves",
        edit=dockerfile(PROBE, 'CMD ["/app/probe"]'),
    ),
    Running(
        "health-command-asks-another-port",
        "health.health_command_passes_while_it_serves",
        edit=dockerfile(
            PROBE,
            PROBE.replace(
                "'http://127.0.0.1:7860/health'", "'http://127.0.0.1:%d/health' % (7860 + 1)"
            ),
        ),
    ),
    Running(
        "health-command-never-fails",
        "health.health_command_fails_with_the_app",
        edit=dockerfile(PROBE, 'CMD ["python", "-c", "print()"]'),
    ),
)

ENVIRONMENT = (
    Running(
        "healthy-but-broken",
        "environment.refuses_a_wrong_environment",
        edit=app(("    if settings.faults:\n", "    if settings.faults and False:\n")),
    ),
    Running(
        "names-one-fault-at-a-time",
        "environment.names_every_faulty_variable_at_once",
        edit=app(('"\\n".join(settings.faults)', "settings.faults[0]")),
    ),
)

RUNNING = START + HOSTILE + IMAGE + HEALTH_CASES + ENVIRONMENT
