"""A `make up` that fails or is interrupted must print the reason, and leave nothing behind."""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from preflight.engine.docker import docker
from preflight.engine.image import build
from preflight.engine.run import Run
from tests.cli.checkout import (
    HANG,
    SERVE,
    SPACES,
    Checkout,
    Outcome,
    free_ports,
)
from tests.waiting import eventually

# Failures: each case gets a checkout, causes one failure and returns its outcome.

Case = Callable[[Run, Path], Outcome]


def up_with(dockerfiles: dict[str, str], *edits: tuple[str, str, str]) -> Case:
    def case(run: Run, folder: Path) -> Outcome:
        checkout = Checkout(run, folder, dockerfiles)
        for edit in edits:
            checkout.edit(*edit)
        try:
            return checkout.make("up")
        finally:
            checkout.remove()

    return case


def without_a_dockerfile(run: Run, folder: Path) -> Outcome:
    checkout = Checkout(run, folder, SERVE)
    (folder / "backend-py" / "Dockerfile").unlink()
    return checkout.make("up")


def with_an_invalid_port(run: Run, folder: Path) -> Outcome:
    checkout = Checkout(run, folder, SERVE)
    checkout.environment["BACKEND_PY_PORT"] = "http"
    return checkout.make("up")


def with_a_process_on_the_port(run: Run, folder: Path) -> Outcome:
    checkout = Checkout(run, folder, SERVE)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", checkout.ports["backend-node"]))
        holder.listen()
        return checkout.make("up")


def with_a_container_on_the_port(run: Run, folder: Path) -> Outcome:
    checkout = Checkout(run, folder, {**SERVE, "backend-py": HANG})
    image = build(run, "port-holder", folder / "backend-py")
    port = checkout.ports["backend-node"]
    holder = docker(
        "run", "--detach", *run.labels, f"--name={checkout.project}-holder",
        f"--publish=127.0.0.1:{port}:7860", image.tag,
    ).stdout.strip()  # fmt: skip
    try:
        return checkout.make("up")
    finally:
        docker("rm", "--force", holder)


def without_an_engine(run: Run, folder: Path) -> Outcome:
    checkout = Checkout(run, folder, SERVE)
    checkout.environment["DOCKER_HOST"] = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    return checkout.make("up")


def with_no_socket_at_docker_host(run: Run, folder: Path) -> Outcome:
    checkout = Checkout(run, folder, SERVE)
    checkout.environment["DOCKER_HOST"] = f"unix://{folder}/none.sock"
    return checkout.make("up")


def interrupted(
    dockerfiles: dict[str, str],
    when: Callable[[Checkout], object],
    number: signal.Signals,
    times: int = 1,
) -> Case:
    def case(run: Run, folder: Path) -> Outcome:
        checkout = Checkout(run, folder, dockerfiles)
        process = checkout.begin("make", "up")
        try:
            eventually(
                "the moment to interrupt",
                60,
                lambda: when(checkout) or process.poll() is not None,
            )
            started = time.monotonic()
            for _ in range(times):
                if process.poll() is None:
                    os.killpg(process.pid, number)
                    time.sleep(0.2)
            return checkout.finish(process, started)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            checkout.remove()

    return case


def builds(checkout: Checkout) -> bool:
    log = checkout.folder / "reports" / "up" / "build-backend-node.log"
    return (
        log.exists() and re.search(r"^#\d+ [\d.]+ building now", log.read_text(), re.M) is not None
    )


def has_a_container(checkout: Checkout) -> bool:
    mark = f"label=com.docker.compose.project={checkout.project}"
    return docker("ps", "--all", "--quiet", "--filter", mark).stdout != ""


def runs(checkout: Checkout) -> bool:
    mark = f"label=com.docker.compose.project={checkout.project}"
    return docker("ps", "--quiet", "--filter", mark).stdout != ""


# Longer than any test, and recognisable among the processes of this machine. The number differs
# each time, because a finished step would come from the cache.
SLOW_STEP = f"sleep 300.{secrets.randbelow(10**9)}"
SLOW_BUILD = f"RUN echo building now && {SLOW_STEP}\n"
FALSE_PROBE = HANG + "HEALTHCHECK CMD echo Connection refused && false\n"
SHORT_PROBES = ("compose.yaml", "interval: 30s", "interval: 200ms"), (
    "compose.yaml", "start_period: 60s", "start_period: 300ms"
)  # fmt: skip

# name: (case, texts that its output must contain)
FAILURES: dict[str, tuple[Case, list[str]]] = {
    "a failing build step": (
        up_with({**SERVE, "backend-node": "RUN echo the reason >&2 && exit 3\n"}),
        ["backend-node: the build failed", "step:", "RUN echo the reason", "    the reason",
         "exit code: 3", "full log: LOGS/build-backend-node.log"],
    ),
    "a syntax error in a Dockerfile": (
        up_with({"backend-node": "COPPY . .\n"}),
        ["backend-node: the build failed", "reading the Dockerfile", "unknown instruction: COPPY",
         "syntax error", "full log: LOGS/build-backend-node.log"],
    ),
    "no space left in a build step (a tmpfs of 64 KB as the disk)": (
        up_with({"backend-node": "RUN --mount=type=tmpfs,target=/small,size=65536 "
                 "dd if=/dev/zero of=/small/file bs=1M count=1\n"}),
        ["backend-node: the build failed", "dd if=/dev/zero", "No space left on device",
         "the disk is full", "docker system prune", "full log: LOGS/build-backend-node.log"],
    ),
    "a base image that is absent": (
        up_with({"backend-py": "FROM 127.0.0.1:1/absent/image:this\n"}),
        ["the base image 127.0.0.1:1/absent/image:this can't be pulled", "Check the network"],
    ),
    "no Dockerfile": (without_a_dockerfile, ["backend-py: ", "backend-py/Dockerfile is absent"]),
    "an invalid port": (with_an_invalid_port, ["compose.yaml is not valid", "http"]),
    "a Space that exits": (
        up_with({"backend-node": 'CMD echo "BETTER_AUTH_SECRET: missing" >&2; exit 78\n'}),
        ["backend-node: the container ended with exit code 78", "    BETTER_AUTH_SECRET: missing",
         "full log: LOGS/start-backend-node.log"],
    ),
    "a Space that turns unhealthy": (
        up_with({"backend-py": FALSE_PROBE}, *SHORT_PROBES),
        ["backend-py: the container is unhealthy", "it printed nothing", "Connection refused",
         "full log: LOGS/start-backend-py.log"],
    ),
    "a Space that never gets healthy": (
        up_with({"backend-py": FALSE_PROBE},
                ("src/preflight/engine/compose.py", "UP_DEADLINE = 120", "UP_DEADLINE = 3")),
        ["backend-py: the container is not healthy after 3 s", "Connection refused",
         "full log: LOGS/start-backend-py.log"],
    ),
    "a port held by a process": (
        with_a_process_on_the_port,
        ["backend-node: port NODE_PORT is taken", f"(process {os.getpid()})", "BACKEND_NODE_PORT="],
    ),
    "a port held by a container": (
        with_a_container_on_the_port,
        ["backend-node: port NODE_PORT is taken by the container PROJECT-holder", "BACKEND_NODE_PORT="],
    ),
    "no engine at DOCKER_HOST": (
        without_an_engine, ["no Docker engine answers at DOCKER_HOST=tcp://127.0.0.1:", "Start it"],
    ),
    "no socket at DOCKER_HOST": (
        with_no_socket_at_docker_host, ["no Docker engine answers at DOCKER_HOST=unix://", "Start it"],
    ),
}  # fmt: skip

INTERRUPTIONS: dict[str, Case] = {
    "Ctrl-C in a build": interrupted({"backend-node": SLOW_BUILD}, builds, signal.SIGINT),
    "Ctrl-C twice at the first container": interrupted(
        dict.fromkeys(SPACES, FALSE_PROBE), has_a_container, signal.SIGINT, 2
    ),
    "SIGTERM while waiting for health": interrupted(
        {"backend-node": FALSE_PROBE}, runs, signal.SIGTERM
    ),
}  # fmt: skip
CASES: dict[str, Case] = {**{n: case for n, (case, _) in FAILURES.items()}, **INTERRUPTIONS}


@pytest.fixture(scope="module")
def outcome_of(
    run: Run, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Outcome]]:
    """The outcome of a case. All selected cases run side by side; with xdist each runs alone."""
    selected = [
        str(item.callspec.params["name"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and "outcome_of" in item.fixturenames
    ]
    started: dict[str, Future[Outcome]] = {}
    with ThreadPoolExecutor(max_workers=6) as pool:

        def begin(name: str) -> Future[Outcome]:
            number = list(CASES).index(name)
            folder = tmp_path_factory.mktemp(f"{run.id}-up{number}", numbered=False)
            return pool.submit(CASES[name], run, folder)

        def outcome(name: str) -> Outcome:
            for case in [name] if "PYTEST_XDIST_WORKER" in os.environ else selected:
                if case not in started:
                    started[case] = begin(case)
            return started[name].result()

        yield outcome


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_reported_once_and_leaves_nothing(
    name: str, outcome_of: Callable[[str], Outcome], run: Run
) -> None:
    """A failure must name Space, step, last lines and log, exit with a code other than 0, and stop everything."""
    outcome = outcome_of(name)
    project = f"{run.id}-up{list(CASES).index(name)}"
    for expected in FAILURES[name][1]:
        expected = expected.replace("PROJECT", project)
        if "LOGS/" in expected:
            logs = re.findall(r"^full log: (.+)$", outcome.output, re.M)
            assert len(logs) == 1, outcome.output
            assert logs[0].endswith(expected.replace("full log: LOGS", f"/{project}/reports/up"))
            assert Path(logs[0]).read_text() or "printed nothing" in outcome.output
        elif "NODE_PORT is" in expected:
            assert re.search(expected.replace("NODE_PORT", r"\d+"), outcome.output), outcome.output
        else:
            assert expected in outcome.output, outcome.output
    assert "Traceback" not in outcome.output
    assert outcome.code == 2, "make ends with 2 when a command of a target failed"
    assert outcome.left == []


@pytest.mark.parametrize("name", INTERRUPTIONS)
def test_an_interrupted_start_must_leave_nothing(
    name: str, outcome_of: Callable[[str], Outcome]
) -> None:
    outcome = outcome_of(name)
    assert "stopped. Nothing is left running." in outcome.output
    assert "Traceback" not in outcome.output
    # Make ends itself by the signal that it got; a shell reports it as 128 + its number. Make ends with 2 when the
    # signal arrives while it collects a child that has ended ("wait: No child processes").
    assert outcome.code in (-signal.SIGINT, -signal.SIGTERM, 2), outcome.output
    assert outcome.left == []
    assert outcome.seconds < 20
    eventually("the end of the build step", 10, lambda: not build_steps())


def build_steps() -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if " ".join(process.info["cmdline"] or []) == SLOW_STEP
    ]
