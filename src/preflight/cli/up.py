"""`preflight up` and `preflight down`: the Spaces of compose.yaml on this machine.

`up` ends when every Space is healthy and prints how to try it, or ends with an error message. It
replaces running Spaces only by healthy ones; otherwise they keep running. Standard library only.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from preflight.cli import ports, stack
from preflight.cli.stack import Failed, Service
from preflight.engine import base_images, install
from preflight.engine.build_log import digest
from preflight.engine.compose import Compose, StackError, folder_of, left_of
from preflight.engine.docker import DockerError, docker
from preflight.engine.install import say

LOGS = Path("reports") / "up"
STAND_INS = LOGS / "compose.stand-ins.yaml"
BUILD_DEADLINE = 900
TRY = {
    "backend-py": """curl -s {url}/chat -H 'Content-Type: application/json' -d '{{"question": "Why is my Space stuck on Starting?"}}'""",
    "backend-node": """curl -s {url}/api/auth/sign-up/email -H 'Content-Type: application/json' -d '{{"name": "Ada", "email": "ada@example.com", "password": "correct horse battery"}}'""",
}


def main(arguments: list[str]) -> int:
    """Carry out `up …` or `down`; returns the exit code, 2 when it failed."""
    options = _parser().parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop_once)
    try:
        if options.action == "down":
            return down()
        engine = install.ensure()
        return up(engine, options.edge, options.pull, options.no_cache)
    except (Failed, DockerError, OSError) as failure:
        print(f"\n{failure}", file=sys.stderr, flush=True)
        return 2
    except SystemExit:
        # The message has been printed.
        return 2


def up(engine: install.Engine, edge: bool, pull: bool, no_cache: bool) -> int:
    """Build, then start or replace, then print each Space's address. Raises Failed."""
    host = install.host()
    if host != "127.0.0.1":
        # On a remote engine, that machine's loopback would be out of reach from here.
        os.environ.setdefault("HOST_ADDRESS", "0.0.0.0")
    install.limit_to(engine)
    compose, config = stack.project(edge)
    name = config["name"]
    _refuse_another_folder(name)
    stack.warn_of_unknown_variables(config)
    services = stack.services(config)
    ports.check(name, services, host)
    ran = bool(left_of(name)["container"])
    before = stack.running(name)
    try:
        compose = _build(compose, services, pull, no_cache)
        _start(compose, name, services, ran)
    except BaseException as error:
        if not ran:
            _remove(compose)
        if isinstance(error, KeyboardInterrupt):
            rest = stack.fate_of(before, name) if ran else "Nothing is left running."
            print(f"\nstopped. {rest}", file=sys.stderr)
            return 130
        if ran and isinstance(error, (Failed, DockerError)):
            raise Failed(f"{error}\n{stack.fate_of(before, name)}") from None
        raise
    _remove_replaced_images(name)
    _say_where(compose, services, host, edge)
    return 0


def down() -> int:
    """Remove and list the containers, networks, volumes and images of this folder's stacks."""
    if install.look() is None:
        if os.environ.get("DOCKER_HOST"):
            raise Failed("no Docker engine answers at DOCKER_HOST, so nothing was removed.")
        say("no Docker engine answers, so nothing is running.")
        return 0
    found = False
    for edge in (False, True):
        if edge and not stack.EDGE.is_file():
            continue
        compose, config = stack.project(edge)
        left = left_of(config["name"])
        if not any(left.values()):
            continue
        _refuse_another_folder(config["name"])
        found = True
        _remove(compose)
        for kind, names in left.items():
            if names:
                say(f"removed {kind}{'s' * (len(names) > 1)}: {', '.join(names)}")
    if not found:
        say("nothing was running.")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="preflight", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    actions = parser.add_subparsers(dest="action", required=True)
    starting = actions.add_parser("up", help="Build and start.", epilog="Example: preflight up")
    starting.add_argument("--pull", action="store_true", help="Pull newer base images.")
    starting.add_argument(
        "--no-cache", action="store_true", help="Build without the layer cache: a factory rebuild."
    )
    starting.add_argument(
        "--edge", action="store_true", help="Start a separate stack behind a rehearsed Hub edge."
    )
    actions.add_parser("down", help="Stop and remove.", epilog="Example: preflight down")
    return parser


def _stop_once(*_: object) -> None:
    """A second Ctrl-C must not end the clean-up that the first one started."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _refuse_another_folder(project: str) -> None:
    """Raise Failed when the project's containers were started from another folder."""
    other = folder_of(project)
    if other and Path(other).resolve() != Path.cwd():
        raise Failed(
            f"the Compose project {project} belongs to another folder: {other}\n"
            f"fix: run the command there, or give this folder's project another name: "
            f"export COMPOSE_PROJECT_NAME={project}-2"
        )


def _build(compose: Compose, services: list[Service], pull: bool, no_cache: bool) -> Compose:
    """Build every image; returns the project with stand-ins for base images, if any."""
    images = sorted({image for service in services for image in service.base_images})
    stand_ins = base_images.ensure(images, pull=pull)
    if stand_ins:
        stack.write_stand_ins(STAND_INS, services, stand_ins)
        compose = Compose([*compose.files, STAND_INS], compose.project, compose.environment)
    flags = ["--pull"] * (pull and not stand_ins) + ["--no-cache"] * no_cache
    for service in services:
        log = _log(f"build-{service.name}")
        say(f"building {service.name} …")
        started = time.monotonic()
        try:
            with install.building(no_cache):
                compose.run(
                    "--progress", "plain", "build", *flags, service.name,
                    deadline=BUILD_DEADLINE, log=log,
                )  # fmt: skip
        except DockerError:
            if time.monotonic() - started >= BUILD_DEADLINE:
                what = f"the build did not end within {BUILD_DEADLINE} s.\n{_last_lines(log)}"
            else:
                what = f"the build failed.\n{digest(log.read_text(errors='replace'))}"
            raise Failed(f"{service.name}: {what}\nfull log: {log.resolve()}") from None
        say(f"built {service.name} in {time.monotonic() - started:.0f} s")
    return compose


def _start(compose: Compose, project: str, services: list[Service], ran: bool) -> None:
    """Start the stack. When it runs already, first try its changed services beside it."""
    if ran:
        changed = stack.changed(compose, project)
        new = [service for service in services if service.name in changed]
        if new:
            _try_out(compose, project, services, new)
    say("starting …")
    log = _log("start")
    try:
        compose.up(log=log)
    except StackError as error:
        raise Failed(_with_logs(error)) from None
    except DockerError:
        output = log.read_text(errors="replace")
        raise Failed(
            ports.taken_meanwhile(services, output)
            or f"the Spaces do not start.\n{_last_lines(log)}\nfull log: {log.resolve()}"
        ) from None


def _try_out(compose: Compose, project: str, services: list[Service], new: list[Service]) -> None:
    """Start the new images, and what they depend on, beside the running stack until they are healthy.

    Raises Failed.
    """
    names = [service.name for service in new]
    say(f"trying the new {' and '.join(names)} beside the running stack …")
    differences = LOGS / "compose.trial.yaml"
    # Compose derives an image's name from the project, and the trial is another project.
    lines = "".join(
        f"  {service.name}:\n    image: {project}-{service.name}\n    ports: !reset []\n"
        for service in services
    )
    differences.write_text(f"services:\n{lines}")
    trial = Compose([*compose.files, differences], f"{project}-trial", compose.environment)
    try:
        trial.up(*names, log=_log("trial"))
    except StackError as error:
        raise Failed(_with_logs(error)) from None
    finally:
        _remove(trial, images=False)


def _with_logs(error: StackError) -> str:
    parts = []
    for failure in error.failures:
        log = _log(f"start-{failure.service}")
        log.write_text(failure.log)
        parts.append(f"{failure}\nfull log: {log.resolve()}")
    return "\n\n".join(parts)


def _say_where(compose: Compose, services: list[Service], host: str, edge: bool) -> None:
    local = "localhost" if host == "127.0.0.1" else host
    own = f" --project-name={compose.project}" if compose.project else ""
    for service in services:
        if not service.is_space:
            continue
        url = stack.edge_url(service.name) if edge else f"http://{local}:{service.ports[0]}"
        print(f"\n{service.name} is healthy: {url}")
        line = TRY.get(service.name, "curl -s {url}/").format(url=url)
        print(f"  try:  {line.replace('curl -s', 'curl -ks') if edge else line}")
        print(f"  logs: docker compose{own} logs -f {service.name}")
        if edge:
            print(f"  connections: docker compose{own} logs egress-{service.name}")
    if edge:
        print(
            "\nAccept the certificate. Python on Linux does not resolve names under hf.localhost."
        )
    # A rebuild needs the compose file of the stand-ins too.
    typed = (
        " ".join(["docker", *compose.command]) if len(compose.files) > 1 else f"docker compose{own}"
    )
    print(f"\nEdit and see it within two seconds: {typed} watch --no-up")
    print("  When an edit breaks the start, the logs command above shows the reason.")
    print(f"Stop and remove: {'make' if Path('Makefile').is_file() else 'preflight'} down")


def _remove(compose: Compose, images: bool = True) -> None:
    flags = ["--rmi", "local"] if images else []
    # Docker may finish creating a container after its command ended, so remove twice.
    with suppress(DockerError):
        compose.down(*flags, log=_log("down"))
    compose.down(*flags, log=_log("down"))


def _remove_replaced_images(project: str) -> None:
    """Remove images whose name a newer build has taken. The builder's cache stays."""
    mark = f"label=com.docker.compose.project={project}"
    docker("image", "prune", "--force", f"--filter={mark}", deadline=120, check=False)


def _log(name: str) -> Path:
    """A fresh log file below reports/up, which git ignores."""
    stack.make_ignored(LOGS.parent)
    LOGS.mkdir(parents=True, exist_ok=True)
    path = LOGS / f"{name}.log"
    path.unlink(missing_ok=True)
    return path


def _last_lines(log: Path) -> str:
    text = log.read_text(errors="replace") if log.is_file() else ""
    lines: list[Any] = [line for line in text.splitlines() if line.strip()][-10:]
    return "\n".join(f"    {line[:400]}" for line in lines) or "    (it printed nothing)"
