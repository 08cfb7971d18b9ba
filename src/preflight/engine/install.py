"""Provide a Docker engine with Compose v2 and Buildx.

Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from preflight.engine.waiting import NotYet, Overdue, wait_until

# healthcheck.start_interval needs engine 25; `!override` in compose.test.yaml needs Compose 2.24.4.
OLDEST_ENGINE = (25, 0)
OLDEST_COMPOSE = (2, 24, 4)

PID_FILE = Path("/run/preflight-dockerd.pid")
START_DEADLINE, STOP_DEADLINE = 60, 30
LOG_FILE = Path("/var/log/preflight-dockerd.log")
# Debian 12's own engine is 20.10 and its Compose is v1; Debian 13's run on Debian 12's libc.
# containerd and runc stay Debian 12's, because Debian 13's runc needs a newer libc.
NEWER_SUITE = "trixie"
PACKAGES = ("docker.io", "docker-cli", "docker-compose", "docker-buildx")
INSTALL_HINT = (
    "Install Docker Desktop (macOS, Windows) or Docker Engine with the compose and buildx plug-ins "
    "(https://docs.docker.com/engine/install/), then run the command again."
)
NOT_IN_GROUP = (
    "the Docker engine runs, but this user may not use it. "
    "Run `sudo usermod -aG docker $USER && newgrp docker`, then the command again."
)


def say(message: str) -> None:
    print(f"setup: {message}", flush=True)


class Failure(SystemExit):
    """Something is missing and can't be installed here; the message has been printed."""

    def __init__(self, message: str) -> None:
        super().__init__(2)
        self.message = message


def fail(message: str) -> NoReturn:
    print(f"setup: {message}", file=sys.stderr, flush=True)
    raise Failure(message)


@contextmanager
def one_at_a_time(what: str, shared: bool = False) -> Iterator[None]:
    """Block other processes of this user that do the same; the lock ends with its process.

    shared: block only processes that do it unshared.
    """
    name = re.sub(r"[^a-z0-9]+", "-", what.lower())
    with (Path(tempfile.gettempdir()) / f"preflight-{os.getuid()}-{name}.lock").open("w") as lock:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process of this machine ({what}) …")
            fcntl.flock(lock, kind)
        yield


@contextmanager
def building(no_cache: bool) -> Iterator[None]:
    """Hold while the engine builds an image: builds run in parallel, but a build without the cache runs alone.

    An engine older than 28 dies when a build without the cache meets another one that shares steps with
    it: the solver walks a step that never started. Source: moby/buildkit pull request 5606.
    """
    with one_at_a_time("build", shared=not no_cache):
        yield


def answers(command: list[str], deadline: float = 20) -> str | None:
    """The command's output, or None when it is absent, fails or takes longer than `deadline` s."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=deadline)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


@dataclass(frozen=True)
class Engine:
    """An engine that answers, and the client's plug-ins: name and version. memory: bytes."""

    version: str
    cpus: int
    memory: int
    plugins: dict[str, str]


def look() -> Engine | None:
    """The engine that answers, or None. A single command, since each loads every plug-in."""
    output = answers(["docker", "info", "--format", "{{json .}}"])
    found: dict[str, Any] = json.loads(output) if output and output.strip() else {}
    if not found.get("ServerVersion"):
        return None
    listed = found.get("ClientInfo", {}).get("Plugins") or []
    plugins = {
        plugin["Name"]: plugin.get("Version", "") for plugin in listed if not plugin.get("Err")
    }
    return Engine(found["ServerVersion"], found["NCPU"], found["MemTotal"], plugins)


def host() -> str:
    """The address at which published ports of the engine are reached."""
    remote = os.environ.get("DOCKER_HOST", "")
    if not remote or remote.startswith(("unix:", "npipe:")):
        return "127.0.0.1"
    name = urlsplit(remote).hostname or "127.0.0.1"
    return "127.0.0.1" if name == "localhost" else name


def refuses_this_user() -> bool:
    """Whether an engine runs but its socket is closed to this user."""
    try:
        done = subprocess.run(["docker", "version"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return "permission denied" in done.stderr


def version_tuple(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def ensure() -> Engine:
    """Return the engine, after installing it, Compose v2 and Buildx where absent.

    Raises SystemExit with the fix when they can't be installed here.
    """
    found = look()
    if found is None:
        if os.environ.get("DOCKER_HOST"):
            fail(
                f"no Docker engine answers at DOCKER_HOST={os.environ['DOCKER_HOST']}. "
                "Start it there, or unset DOCKER_HOST to use this machine's."
            )
        if refuses_this_user():
            fail(NOT_IN_GROUP)
        if sys.platform != "linux" and shutil.which("docker"):
            fail("the Docker engine does not answer. Start Docker Desktop, then run it again.")
        if shutil.which("dockerd") is None:
            install()
        found = start()
    if "compose" not in found.plugins and can_install():
        install()
        found = look() or found
    check_versions(found)
    return found


def check_versions(engine: Engine) -> None:
    if version_tuple(engine.version) < OLDEST_ENGINE:
        fail(
            f"Docker engine {engine.version} is too old, 25.0 or newer is needed (health checks with start_interval). {INSTALL_HINT}"
        )
    compose = engine.plugins.get("compose")
    if compose is None:
        fail(f"Docker Compose v2 is missing (`docker compose version` fails). {INSTALL_HINT}")
    if version_tuple(compose) < OLDEST_COMPOSE:
        fail(f"Docker Compose {compose} is too old, 2.24.4 or newer is needed. {INSTALL_HINT}")
    if "buildx" not in engine.plugins:
        fail(f"Docker Buildx is missing (`docker buildx version` fails). {INSTALL_HINT}")


def can_install() -> bool:
    return shutil.which("apt-get") is not None and (
        os.geteuid() == 0 or shutil.which("sudo") is not None
    )


def install() -> None:
    """Install engine, Compose and Buildx from Debian's or Ubuntu's own packages."""
    if not can_install():
        fail(
            f"there is no Docker engine, and this script installs it only on Debian and Ubuntu, as root or with sudo. {INSTALL_HINT}"
        )
    release = dict(
        line.split("=", 1)
        for line in Path("/etc/os-release").read_text().splitlines()
        if "=" in line
    )
    family = release.get("ID", "").strip('"')
    codename = release.get("VERSION_CODENAME", "").strip('"')
    if family == "ubuntu":
        wanted = ["docker.io", "docker-compose-v2", "docker-buildx"]
    elif family == "debian" and codename != "bookworm":
        wanted = list(PACKAGES)
    elif family == "debian":
        add_newer_suite()
        wanted = [f"{package}/{NEWER_SUITE}" for package in PACKAGES]
    else:
        fail(
            f"there is no Docker engine, and this script supports only Debian and Ubuntu, not {family or 'this system'}. {INSTALL_HINT}"
        )
    say(
        f"no Docker engine here: installing {' '.join(wanted)} from this machine's package sources …"
    )
    run_as_root(["apt-get", "update", "-q"])
    run_as_root(["apt-get", "install", "-y", "-q", "--no-install-recommends", *wanted, "iptables"])


def add_newer_suite() -> None:
    """Add the newer Debian suite beside the configured suite, at a priority that upgrades no package."""
    sources = Path("/etc/apt/sources.list.d/debian.sources")
    one_line = Path("/etc/apt/sources.list")
    if sources.exists():
        stanzas = [
            s
            for s in sources.read_text().split("\n\n")
            if re.search(r"^Suites:.*\bbookworm\b", s, re.M)
        ]
        text = (
            re.sub(r"^Suites:.*$", f"Suites: {NEWER_SUITE}", stanzas[0], flags=re.M)
            if stanzas
            else ""
        )
        target = Path(f"/etc/apt/sources.list.d/preflight-{NEWER_SUITE}.sources")
    else:
        lines = one_line.read_text().splitlines() if one_line.exists() else []
        text = "\n".join(
            re.sub(r"\bbookworm\b", NEWER_SUITE, line)
            for line in lines
            if re.match(r"deb\s.*\sbookworm\s", line)
        )
        target = Path(f"/etc/apt/sources.list.d/preflight-{NEWER_SUITE}.list")
    if not text.strip():
        fail(
            f"no Debian package source for bookworm is configured in /etc/apt, so the engine can't be installed. {INSTALL_HINT}"
        )
    write_as_root(target, text.rstrip() + "\n")
    pin = f"Package: *\nPin: release n={NEWER_SUITE}\nPin-Priority: 100\n"
    write_as_root(Path(f"/etc/apt/preferences.d/preflight-{NEWER_SUITE}"), pin)


def start() -> Engine:
    """Start the installed engine, by the init system where there is one, and return it."""
    if Path("/run/systemd/system").is_dir():
        say("starting the Docker engine (systemctl start docker) …")
        run_as_root(["systemctl", "start", "docker"])
    else:
        say(f"starting the Docker engine; its log is {LOG_FILE}")
        launch()
    try:
        found = wait_until("the Docker engine", START_DEADLINE, _answering, 0.2)
    except Overdue:
        found = None
    if found is None:
        tail = "\n".join(log_lines()[-5:])
        fail(
            f"the Docker engine was started but does not answer within {START_DEADLINE} s. The last lines of {LOG_FILE}:\n{tail}"
        )
    return found


def _answering() -> Engine | None:
    """The engine that is starting; None when it has ended. Raises NotYet."""
    found = look()
    if found is not None:
        return found
    if refuses_this_user():
        fail(NOT_IN_GROUP)
    if PID_FILE.exists() and not pid_runs(PID_FILE):
        # A killed engine remains a process until init has reaped it.
        if "is still running" not in "\n".join(log_lines()[-1:]):
            return None
        launch()
    raise NotYet


def launch() -> None:
    """Start dockerd in a new session, so that Ctrl-C in this terminal does not end it."""
    run_as_root(["sh", "-c", f"setsid nohup dockerd >{LOG_FILE} 2>&1 & echo $! >{PID_FILE}"])


def log_lines() -> list[str]:
    return (answers(as_root(["cat", str(LOG_FILE)])) or "(no log)").splitlines()


def last_words() -> str:
    """Why the engine of start() ended, from its log; empty when it runs or was not started here."""
    if not PID_FILE.exists() or pid_runs(PID_FILE):
        return ""
    lines = log_lines()
    crash = next((line for line in lines if line.startswith(("panic:", "fatal error:"))), lines[-1])
    return f"it has ended: {crash}; its log: {LOG_FILE}"


def stop() -> None:
    """Stop the engine that start() started; leave any other engine running."""
    if not PID_FILE.exists():
        return
    pid = int(PID_FILE.read_text())
    if pid_runs(PID_FILE):
        run_as_root(["kill", f"-{signal.SIGTERM.value}", str(pid)])
        try:
            wait_until("the Docker engine stops", STOP_DEADLINE, _ended, 0.1)
        except Overdue:
            fail(
                f"the Docker engine (process {pid}) does not stop within {STOP_DEADLINE} s; see {LOG_FILE}."
            )
        say("the Docker engine that setup started is stopped.")
    run_as_root(["rm", "-f", str(PID_FILE)])


def _ended() -> None:
    if pid_runs(PID_FILE):
        raise NotYet


def pid_runs(pid_file: Path) -> bool:
    """Whether the process named in `pid_file` is a running dockerd (a pid may have been reused)."""
    try:
        pid = int(pid_file.read_text())
        return b"dockerd" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return False


def as_root(command: list[str]) -> list[str]:
    return command if os.geteuid() == 0 else ["sudo", *command]


def run_as_root(command: list[str]) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # apt-get fails when another apt-get runs.
    with one_at_a_time("apt-get"):
        done = subprocess.run(
            as_root(command), env=environment, capture_output=True, text=True, timeout=600
        )
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-8:])
        fail(f"`{' '.join(command[:3])} …` failed with exit code {done.returncode}:\n{tail}")


def write_as_root(path: Path, text: str) -> None:
    subprocess.run(
        as_root(["tee", str(path)]),
        input=text,
        text=True,
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=60,
    )


def limit_to(found: Engine) -> None:
    """Limit the Spaces to the engine's CPUs and memory: it refuses more CPUs than it has."""
    if found.cpus < 2:
        say(f"this engine has {found.cpus} CPU; a Space has 2: starts will be slower than on the Hub.")  # fmt: skip
        os.environ.setdefault("SPACE_CPUS", str(found.cpus))
    if 0 < found.memory < 16 * 1024**3:
        os.environ.setdefault("SPACE_MEMORY", str(found.memory))
