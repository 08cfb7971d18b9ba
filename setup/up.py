"""Start both Spaces on this machine, or remove them.

    python3 setup/up.py up [--pull] [--no-cache]
    python3 setup/up.py down

`up` ends with both Spaces healthy and says how to try them, or with one clear message, exit code 1
and nothing left running. Standard library only.
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
from pathlib import Path

import base_images
import engine
from build_log import digest
from engine import answers, fail, say

ROOT = Path(__file__).resolve().parent.parent
LOGS = ROOT / "reports" / "up"
BUILD_DEADLINE = 900
HEALTHY_DEADLINE = 120
TRY = {
    "backend-py": """curl -s {url}/chat -H 'Content-Type: application/json' -d '{{"question": "Why is my Space stuck on Starting?"}}'""",
    "backend-node": """curl -s {url}/api/auth/sign-up/email -H 'Content-Type: application/json' -d '{{"name": "Ada", "email": "ada@example.com", "password": "correct horse battery"}}'""",
}


class Failed(Exception):
    """One clear message: which Space, which step, what to do."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["up", "down"])
    parser.add_argument("--pull", action="store_true", help="look for newer base images")
    parser.add_argument(
        "--no-cache", action="store_true", help="build without the layer cache (a factory rebuild)"
    )
    options = parser.parse_args()
    os.chdir(ROOT)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    if options.action == "down":
        return down()
    try:
        up(options.pull, options.no_cache)
    except Failed as failure:
        down()
        print(f"\n{failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        down()
        print("\nstopped; nothing is left running.", file=sys.stderr)
        return 130
    return 0


def up(pull: bool, no_cache: bool) -> None:
    engine.ensure()
    host = engine.host()
    if host != "127.0.0.1":
        # On a remote engine, that machine's loopback would be out of reach from here.
        os.environ.setdefault("HOST_ADDRESS", "0.0.0.0")
    limit_to_machine()
    services = spaces()
    check_ports(services, host)
    compose = ["docker", "compose", "-f", "compose.yaml"]
    if base_images.ensure(base_images_of(services), pull=pull):
        compose += ["-f", "compose.offline.yaml"]
        pull = False
    LOGS.mkdir(parents=True, exist_ok=True)
    for name in services:
        build(compose, name, pull, no_cache)
    say("starting …")
    started = subprocess.run(
        [*compose, "up", "--detach", "--no-build"],
        capture_output=True,
        text=True,
        timeout=HEALTHY_DEADLINE,
    )
    if started.returncode != 0:
        raise Failed(f"docker compose up failed:\n{started.stderr.strip()[-1500:]}")
    wait_until_healthy(compose, list(services))
    for name, ports in services.items():
        url = f"http://{host if host != '127.0.0.1' else 'localhost'}:{ports[0]}"
        print(f"\n{name} is healthy: {url}")
        print(f"  try:  {TRY.get(name, 'curl -s {url}/health').format(url=url)}")
        print(f"  logs: docker compose logs -f {name}")
    print("\nStop and remove: make down")


def limit_to_machine() -> None:
    """A Space has 2 CPUs and 16 GB; an engine refuses more CPUs than it has."""
    cpus, memory = (
        answers(["docker", "info", "--format", "{{.NCPU}} {{.MemTotal}}"]) or "2 0"
    ).split()
    if int(cpus) < 2:
        say(f"this engine has {cpus} CPU; a Space has 2: starts will be slower than on the Hub.")
        os.environ.setdefault("SPACE_CPUS", cpus)
    if 0 < int(memory) < 16 * 1024**3:
        os.environ.setdefault("SPACE_MEMORY", memory)


def spaces() -> dict[str, list[int]]:
    """Each service of compose.yaml with its published ports."""
    done = subprocess.run(
        ["docker", "compose", "-f", "compose.yaml", "config", "--format", "json"],
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    if done.returncode != 0:
        raise Failed(f"compose.yaml is not valid with these variables:\n{done.stderr.strip()}")
    services = json.loads(done.stdout)["services"]
    return {
        name: [int(p["published"]) for p in service["ports"]] for name, service in services.items()
    }


def check_ports(services: dict[str, list[int]], host: str) -> None:
    """Raise Failed when a port is taken, saying by whom where that can be known."""
    if host != "127.0.0.1":
        return
    project = json.loads(
        answers(["docker", "compose", "-f", "compose.yaml", "config", "--format", "json"]) or "{}"
    ).get("name")
    for name, ports in services.items():
        for port in ports:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                    continue
                except OSError:
                    holder, ours = port_holder(port, project)
            if not ours:
                variable = f"{name.upper().replace('-', '_')}_PORT"
                raise Failed(
                    f"{name}: port {port} is taken{holder}.\n"
                    f"fix: end that, or choose another port: {variable}={port + 100} make up"
                )


def port_holder(port: int, project: str | None) -> tuple[str, bool]:
    """Who holds a port, as text, and whether it is this project's own container."""
    listing = answers(
        [
            "docker",
            "ps",
            "--filter",
            f"publish={port}",
            "--format",
            '{{.Names}}\t{{.Label "com.docker.compose.project"}}',
        ]
    )
    if listing and listing.strip():
        container, _, owner = listing.splitlines()[0].partition("\t")
        return f" by the container {container}" + (
            f" (compose project {owner})" if owner else ""
        ), owner == project
    listening = answers(["ss", "-Hltnp", f"sport = :{port}"]) or ""
    process = re.search(r'users:\(\("([^"]+)",pid=(\d+)', listening)
    return (f" by {process.group(1)} (process {process.group(2)})" if process else ""), False


def base_images_of(services: dict[str, list[int]]) -> list[str]:
    """The images that the Dockerfiles of the services start FROM, stages of their own left out."""
    images = []
    for name in services:
        text = (ROOT / name / "Dockerfile").read_text()
        stages = re.findall(r"^FROM\s+\S+\s+AS\s+(\S+)", text, re.M | re.I)
        images += [
            image
            for image in re.findall(r"^FROM\s+(\S+)", text, re.M | re.I)
            if image not in stages
        ]
    return sorted(set(images))


def build(compose: list[str], name: str, pull: bool, no_cache: bool) -> None:
    log = LOGS / f"build-{name}.log"
    say(f"building {name} …")
    flags = ["--pull"] * pull + ["--no-cache"] * no_cache
    started = time.monotonic()
    with log.open("w") as output:
        try:
            done = subprocess.run(
                [*compose, "--progress", "plain", "build", *flags, name],
                stdout=output, stderr=subprocess.STDOUT, timeout=BUILD_DEADLINE,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            last = "\n    ".join(log.read_text(errors="replace").splitlines()[-5:])
            raise Failed(
                f"{name}: the build did not end within {BUILD_DEADLINE} s. Last lines:\n    {last}\nfull log: {log}"
            ) from None
    if done.returncode != 0:
        raise Failed(
            f"{name}: the build failed.\n{digest(log.read_text(errors='replace'))}\nfull log: {log}"
        )
    say(f"built {name} in {time.monotonic() - started:.0f} s")


def wait_until_healthy(compose: list[str], names: list[str]) -> None:
    """Return when all are healthy. Raises Failed at once when one has exited or is unhealthy."""
    deadline = time.monotonic() + HEALTHY_DEADLINE
    while True:
        listing = answers([*compose, "ps", "--all", "--format", "json"]) or ""
        states = {row["Service"]: row for row in map(json.loads, listing.splitlines())}
        for name in names:
            row = states.get(name, {"State": "absent", "Health": "", "ExitCode": 0})
            if row["State"] in ("exited", "dead") or row["Health"] == "unhealthy":
                what = (
                    f"exited with code {row['ExitCode']}"
                    if row["State"] != "running"
                    else "is unhealthy"
                )
                raise Failed(start_failure(compose, name, f"{what} instead of getting healthy"))
        waiting = [name for name in names if states.get(name, {}).get("Health") != "healthy"]
        if not waiting:
            return
        if time.monotonic() > deadline:
            name = waiting[0]
            state = states.get(name, {}).get("Status", "absent")
            raise Failed(
                start_failure(
                    compose, name, f"is not healthy after {HEALTHY_DEADLINE} s (last seen: {state})"
                )
            )
        time.sleep(0.1)


def start_failure(compose: list[str], name: str, what: str) -> str:
    log = LOGS / f"start-{name}.log"
    log.write_text(answers([*compose, "logs", "--no-color", "--no-log-prefix", name]) or "")
    last = "\n    ".join(log.read_text().splitlines()[-10:]) or "(it printed nothing)"
    return f"{name}: the container {what}. Last lines of its log:\n    {last}\nfull log: {log}"


def down() -> int:
    """Remove containers, networks, volumes and images of this project."""
    if engine.engine_version() is None:
        return 0  # nothing can run where no engine answers
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        done = subprocess.run(
            ["docker", "compose", "-f", "compose.yaml", "down", "--volumes", "--remove-orphans", "--rmi", "local", "--timeout", "10"],
            capture_output=True, text=True, timeout=120, start_new_session=True,
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, previous)
    if done.returncode != 0:
        fail(f"docker compose down failed:\n{done.stderr.strip()[-1500:]}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
