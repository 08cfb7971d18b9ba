"""Start the Spaces of compose.yaml on this machine, or remove them: `preflight up`, `preflight down`.

`up` ends with both Spaces healthy and says how to try them, or with one clear message, exit code 1
(130 after Ctrl-C) and nothing left running. Standard library only.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from preflight.engine import base_images
from preflight.engine import install as engine
from preflight.engine.build_log import digest
from preflight.engine.install import answers, fail, say

LOGS = Path("reports") / "up"
COMPOSE = ["docker", "compose", "-f", "compose.yaml"]
BUILD_DEADLINE = 900
START_DEADLINE = 60
HEALTHY_DEADLINE = 120
DOWN_DEADLINE = 120
TRY = {
    "backend-py": """curl -s {url}/chat -H 'Content-Type: application/json' -d '{{"question": "Why is my Space stuck on Starting?"}}'""",
    "backend-node": """curl -s {url}/api/auth/sign-up/email -H 'Content-Type: application/json' -d '{{"name": "Ada", "email": "ada@example.com", "password": "correct horse battery"}}'""",
}


class Failed(Exception):
    """One clear message: which Space, which step, what to do."""


@dataclass(frozen=True)
class Service:
    """A Space as compose.yaml describes it."""

    name: str
    folder: Path
    ports: list[int]

    @property
    def dockerfile(self) -> Path:
        return self.folder / "Dockerfile"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="preflight", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["up", "down"])
    parser.add_argument("--pull", action="store_true", help="look for newer base images")
    parser.add_argument(
        "--no-cache", action="store_true", help="build without the layer cache (a factory rebuild)"
    )
    parser.add_argument("--edge", action="store_true", help="behind the Hub's edge, rehearsed")
    options = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop_once)
    if options.action == "down":
        return remove_all()
    found = engine.ensure()
    if options.edge:
        os.environ["COMPOSE_PROFILES"] = "edge"
        COMPOSE.extend(["-f", "compose.edge.yaml"])
    try:
        up(found, options.pull, options.no_cache)
        return 0
    except (Failed, OSError) as failure:
        print(f"\n{failure}", file=sys.stderr, flush=True)
        code = 1
    except SystemExit:
        # The message is out already.
        code = 1
    except KeyboardInterrupt:
        code = 130
    # Compose can't act on a file that it can't read; that has been said.
    with suppress(Failed):
        down()
    if code == 130:
        print("\nstopped; nothing is left running.", file=sys.stderr)
    return code


def stop_once(*_: object) -> None:
    """A second Ctrl-C must not end the clean-up that the first one began."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def remove_all() -> int:
    """`make down`. Returns the exit code."""
    if engine.look() is None:
        if os.environ.get("DOCKER_HOST"):
            fail("no Docker engine answers at DOCKER_HOST, so nothing can be removed there.")
        say("no Docker engine answers, so nothing is running.")
        return 0
    try:
        down()
    except Failed as failure:
        print(failure, file=sys.stderr, flush=True)
        return 1
    return 0


def up(found: engine.Engine, pull: bool, no_cache: bool) -> None:
    host = engine.host()
    if host != "127.0.0.1":
        # On a remote engine, that machine's loopback would be out of reach from here.
        os.environ.setdefault("HOST_ADDRESS", "0.0.0.0")
    engine.limit_to(found)
    project, services = compose_config()["name"], read_services()
    check_ports(project, services, host)
    compose = COMPOSE
    if base_images.ensure(base_images_of(services), pull=pull):
        compose = [*COMPOSE, "-f", "compose.offline.yaml"]
        pull = False
    for service in services:
        build(compose, service, pull, no_cache)
    say("starting …")
    start(compose, services)
    for service in services:
        wait_until_healthy(project, service)
    remove_replaced_images(project)
    for service in services:
        # What is no Space, or is reached through the edge, is told by whoever starts it.
        if not (service.folder / "README.md").is_file() or not service.ports:
            continue
        url = f"http://{'localhost' if host == '127.0.0.1' else host}:{service.ports[0]}"
        print(f"\n{service.name} is healthy: {url}")
        print(f"  try:  {TRY.get(service.name, 'curl -s {url}/health').format(url=url)}")
        print(f"  logs: docker compose logs -f {service.name}")
    watch = "docker compose" if len(compose) == 4 else " ".join(compose)
    print(f"\nEdit and see it within two seconds: {watch} watch --no-up")
    print("Stop and remove: make down")


@cache
def compose_config() -> dict[str, Any]:
    """The project as Compose reads it. Raises Failed when compose.yaml is not valid."""
    done = subprocess.run(
        [*COMPOSE, "config", "--format", "json"], capture_output=True, text=True, timeout=30
    )
    if done.returncode != 0:
        raise Failed(f"compose.yaml is not valid with these variables:\n{done.stderr.strip()}")
    config: dict[str, Any] = json.loads(done.stdout)
    return config


def read_services() -> list[Service]:
    """The services that are built here. Raises Failed when one has no Dockerfile."""
    services = [
        Service(
            name,
            Path(service["build"]["context"]),
            [int(port["published"]) for port in service.get("ports", [])],
        )
        for name, service in compose_config()["services"].items()
        if "build" in service
    ]
    for service in services:
        if not service.dockerfile.is_file():
            raise Failed(
                f"{service.name}: there is no {service.dockerfile}.\n"
                "fix: the Hub builds the Dockerfile at the root of a Space and no other; put it there."
            )
    return services


def check_ports(project: str, services: list[Service], host: str) -> None:
    """Raise Failed when a port of this machine is taken, saying by whom where that can be known."""
    for service in services:
        for port in service.ports:
            # A port that is free here, or on an engine elsewhere: `start` tells who holds it.
            if host == "127.0.0.1" and is_taken(port) and container_on(port)[1] != project:
                raise Failed(port_taken(service, port))


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((os.environ.get("HOST_ADDRESS") or "127.0.0.1", port))
        except OSError:
            return True
    return False


def port_taken(service: Service, port: int) -> str:
    variable = f"{service.name.upper().replace('-', '_')}_PORT"
    return (
        f"{service.name}: port {port} is taken{holder_of(port)}.\n"
        f"fix: end that, or choose another port: {variable}={port + 100} make up"
    )


def holder_of(port: int) -> str:
    """Who holds a port, as text that follows "is taken"; empty where that can't be known."""
    container, owner = container_on(port)
    if container:
        return f" by the container {container}" + (f" (compose project {owner})" if owner else "")
    sockets = answers(["ss", "-Hltnp", f"sport = :{port}"]) or ""
    found = re.search(r'users:\(\("([^"]+)",pid=(\d+)', sockets)
    if not found:
        files = answers(["lsof", "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fcp"]) or ""
        listed = re.search(r"^p(\d+)\nc(.+)$", files, re.M)
        return f" by {listed.group(2)} (process {listed.group(1)})" if listed else ""
    return f" by {found.group(1)} (process {found.group(2)})"


def container_on(port: int) -> tuple[str, str]:
    """Name and compose project of the container that publishes a port; empty when there is none."""
    label = '{{.Names}}\t{{.Label "com.docker.compose.project"}}'
    listing = answers(["docker", "ps", "--filter", f"publish={port}", "--format", label]) or ""
    container, _, owner = listing.partition("\n")[0].partition("\t")
    return container, owner


def base_images_of(services: list[Service]) -> list[str]:
    return sorted(
        {
            image
            for service in services
            for image in base_images.named_in(service.dockerfile.read_text(errors="replace"))
        }
    )


def build(compose: list[str], service: Service, pull: bool, no_cache: bool) -> None:
    log = LOGS / f"build-{service.name}.log"
    say(f"building {service.name} …")
    flags = ["--pull"] * pull + ["--no-cache"] * no_cache
    command = [*compose, "--progress", "plain", "build", *flags, service.name]
    with engine.building(no_cache):
        started = time.monotonic()
        code = run(command, log, BUILD_DEADLINE)
    output = log.read_text(errors="replace")
    if code is None:
        raise Failed(
            f"{service.name}: the build did not end within {BUILD_DEADLINE} s.\n{last_lines(output)}\nfull log: {log}"
        )
    if code != 0:
        raise Failed(f"{service.name}: the build failed.\n{digest(output)}\nfull log: {log}")
    say(f"built {service.name} in {time.monotonic() - started:.0f} s")


def start(compose: list[str], services: list[Service]) -> None:
    log = LOGS / "start.log"
    code = run([*compose, "up", "--detach", "--no-build", "--remove-orphans"], log, START_DEADLINE)
    if code == 0:
        return
    output = log.read_text(errors="replace")
    for service in services:
        for port in service.ports:
            # Somebody took it since check_ports, or holds it on an engine elsewhere.
            if re.search(rf":{port}\b.*(already allocated|already in use)", output):
                raise Failed(port_taken(service, port))
    what = (
        f"did not end within {START_DEADLINE} s" if code is None else f"failed (exit code {code})"
    )
    raise Failed(f"starting the Spaces {what}.\n{last_lines(output)}\nfull log: {log}")


def wait_until_healthy(project: str, service: Service) -> None:
    """Return when the Space is healthy. Raises Failed at once when it has exited or is unhealthy."""
    filters = [
        f"--filter=label=com.docker.compose.{key}={value}"
        for key, value in (("project", project), ("service", service.name))
    ]
    container = (answers(["docker", "ps", "--all", "--quiet", *filters]) or "").strip()
    deadline = time.monotonic() + HEALTHY_DEADLINE
    while True:
        output = answers(["docker", "inspect", "--format", "{{json .State}}", container])
        state: dict[str, Any] = json.loads(output or "{}")
        status, health = state.get("Status", "gone"), state.get("Health") or {}
        if health.get("Status") == "healthy":
            return
        what = None
        if status not in ("created", "running"):
            what = f"is {status} with exit code {state.get('ExitCode')} instead of getting healthy"
        elif health.get("Status") == "unhealthy":
            what = "is unhealthy"
        elif time.monotonic() > deadline:
            what = f"is not healthy after {HEALTHY_DEADLINE} s"
        if what:
            log = LOGS / f"start-{service.name}.log"
            run(["docker", "logs", container], log, 30)
            said = [
                line for probe in health.get("Log") or [] for line in probe["Output"].split("\n")
            ]
            probe = "".join(f"\nhealth check: {line[:400]}" for line in said[-2:] if line.strip())
            raise Failed(
                f"{service.name}: the container {what}.\n"
                f"{last_lines(log.read_text(errors='replace'))}{probe}\nfull log: {log}"
            )
        # A probe comes every 200 ms (start_interval), and each look is a process.
        time.sleep(0.1)


def remove_replaced_images(project: str) -> None:
    """Remove the images that a newer build took the name of. The builder keeps its cache by itself."""
    mark = f"label=com.docker.compose.project={project}"
    answers(["docker", "image", "prune", "--force", f"--filter={mark}"], DOWN_DEADLINE)


def last_lines(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()][-10:]
    return "\n".join(f"    {line[:400]}" for line in lines) or "    (it printed nothing)"


def run(command: list[str], log: Path, deadline: float) -> int | None:
    """Exit code of a command that writes to `log`; None when it was ended after `deadline` seconds.

    Ctrl-C in the terminal reaches this process alone, which then ends the command with its
    children: a plug-in like Compose would outlive a killed `docker`.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            return process.wait(deadline)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if process.poll() is None:
                end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    for number, patience in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
        os.killpg(process.pid, number)
        try:
            process.wait(patience)
            return
        except subprocess.TimeoutExpired:
            continue


def down() -> None:
    """Remove containers, networks, volumes and images of this project.

    Raises Failed when compose.yaml is not valid, SystemExit when the engine does not do it.
    """
    project = compose_config()["name"]
    flags = ["--volumes", "--remove-orphans", "--rmi", "local", "--timeout", "10"]
    # What a profile starts, like the edge, belongs to the project as well.
    command = [*COMPOSE, "--profile", "*", "down", *flags]
    left = ["docker", "ps", "--all", "--quiet", f"--filter=label=com.docker.compose.project={project}"]  # fmt: skip
    log = LOGS / "down.log"
    # A container whose creation was under way when its command was ended shows up a little later.
    for _ in range(3):
        if run(command, log, DOWN_DEADLINE) != 0:
            fail(f"docker compose down failed:\n{last_lines(log.read_text(errors='replace'))}")
        if not answers(left):
            break
    remove_replaced_images(project)
