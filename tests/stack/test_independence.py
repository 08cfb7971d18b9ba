"""Isolation: each Space of compose.yaml is independent, like two Spaces on the Hub."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import combinations
from typing import Any
from urllib.parse import urlsplit

import pytest
from pytest_docker.plugin import Services

from preflight.contract.findings import not_promised, require_none, violated
from preflight.engine.compose import Compose
from preflight.engine.container import Container
from preflight.engine.docker import docker
from preflight.engine.image import BuildError, Image, base_images, stand_in
from preflight.engine.run import Run
from preflight.model.hub_profile import HUB
from preflight.model.problems import Problem
from preflight.model.space import Space

PROBE = "python:3.11-slim-bookworm"
# The empty archive of a step that changes no file, such as WORKDIR on an existing folder.
EMPTY_LAYER = f"sha256:{hashlib.sha256(bytes(1024)).hexdigest()}"
# The p95 on one machine varies by this much without a cause.
NOISE_SECONDS = 0.003


@pytest.fixture(scope="session")
def pairs(
    spaces: list[Space], pytestconfig: pytest.Config, image_of: Callable[[Space], Image]
) -> list[tuple[Space, Space]]:
    """Each pair of built Spaces of compose.yaml."""
    if pytestconfig.getoption("--space") or pytestconfig.getoption("--live"):
        not_promised("isolation is judged for the Spaces of compose.yaml together")
    for space in spaces:
        try:
            image_of(space)
        except BuildError:
            pytest.skip(f"not checked: the image of {space.name} does not build")
    found = list(combinations(spaces, 2))
    assert found, "compose.yaml holds fewer than two Spaces"
    return found


def networks_of(inspection: dict[str, Any], run: Run) -> dict[str, Any]:
    """The networks that compose.yaml gives a container; a concurrent test may add an edge's network."""
    networks = inspection["NetworkSettings"]["Networks"].items()
    return {name: network for name, network in networks if not name.startswith(f"{run.id}-edge-")}


def test_shares_no_network_and_no_volume(
    pairs: list[tuple[Space, Space]], docker_services: Services, stack: Compose, run: Run
) -> None:
    """No two Spaces may share a network or a volume.

    On the Hub: a call to the other container's name fails ("Name or service not known"); a shared file is absent.

    Fix: Give each service its own network in compose.yaml, and call the other Space by its public URL.
    """
    inspected = {
        space.name: Container(space.name, stack.container(space.name), 7860).inspection
        for pair in pairs
        for space in pair
    }

    def used(name: str) -> set[str]:
        return set(networks_of(inspected[name], run)) | {
            mount["Name"] for mount in inspected[name]["Mounts"] if mount["Type"] == "volume"
        }

    require_none(
        Problem(
            f"nothing in common between {a.name} and {b.name}",
            ", ".join(sorted(used(a.name) & used(b.name))),
        )
        for a, b in pairs
        if used(a.name) & used(b.name)
    )


def test_neither_reaches_the_other(
    pairs: list[tuple[Space, Space]], docker_services: Services, stack: Compose, run: Run
) -> None:
    """From one Space's network the other's name must not resolve, and its address must not answer.

    On the Hub: a call to the other Space's service name or address fails, though it worked under Compose.

    Fix: Call the other Space by its public URL, which is a setting.
    """
    for pair in pairs:
        for here, there in (pair, pair[::-1]):
            near = networks_of(
                Container(here.name, stack.container(here.name), 7860).inspection, run
            )
            far = networks_of(
                Container(there.name, stack.container(there.name), 7860).inspection, run
            )
            address = next(iter(far.values()))["IPAddress"]
            script = f"""
import socket
socket.gethostbyname({here.name!r})
try:
    print("resolves", socket.gethostbyname({there.name!r}))
except socket.gaierror:
    pass
try:
    socket.create_connection(({address!r}, {there.app_port}), timeout=0.5)
    print("connects to {address}")
except OSError:
    pass
"""
            image = stand_in(PROBE) or PROBE
            done = docker(
                "run", "--rm", *run.labels, f"--network={next(iter(near))}", image, "python", "-c", script
            )  # fmt: skip
            if done.stdout.strip():
                violated(
                    expected=f"{there.name} out of reach from {here.name}'s network",
                    actual=done.stdout.strip(),
                )


def test_shares_no_layer_of_its_own(
    pairs: list[tuple[Space, Space]], image_of: Callable[[Space], Image]
) -> None:
    """Two Spaces must share no image layer except those of their base images.

    On the Hub: each Space is built from its own folder alone; files of the other Space are missing.

    Fix: COPY from the Space's own folder only.
    """
    for a, b in pairs:
        common = set(layers(image_of(a).tag)) & set(layers(image_of(b).tag)) - {EMPTY_LAYER}
        for folder in (a.folder, b.folder):
            for base in base_images(folder):
                common -= set(layers(stand_in(base) or base))
        if common:
            violated(
                expected=f"no common layer of {a.name} and {b.name}",
                actual=", ".join(sorted(common)),
            )


def layers(image: str) -> list[str]:
    return docker(
        "image", "inspect", "--format", '{{join .RootFS.Layers "\\n"}}', image
    ).stdout.split()


def test_serves_while_the_other_is_dead(
    pairs: list[tuple[Space, Space]], start_as_on_the_hub: Callable[[Space], Container]
) -> None:
    """Each Space must keep serving when the other is killed.

    On the Hub: one Space sleeps or is in error, and the other fails with it.

    Fix: Treat the other Space as a service that may be down: set timeouts, and do not call it at start.
    """
    for pair in pairs:
        for dying, staying in (pair, pair[::-1]):
            with start_as_on_the_hub(staying) as alive, start_as_on_the_hub(dying) as dead:
                for container in (alive, dead):
                    container.wait_until_serving()
                before = alive.get("/health").status_code
                dead.signal("SIGKILL")
                dead.wait_for_exit(HUB.stop_deadline)
                after = alive.get("/health").status_code
            if before != after or after >= 500:
                violated(
                    expected=f"{staying.name} answers {before} with {dying.name} dead",
                    actual=f"{after}",
                )


@pytest.mark.alone
def test_serves_as_fast_while_the_other_is_loaded(
    pairs: list[tuple[Space, Space]], start_as_on_the_hub: Callable[[Space], Container]
) -> None:
    """Load on one Space must leave the other's p95 within 20 % of idle, each within its own CPU limit.

    On the Hub: no effect, because each Space has a separate machine; here the figures of a load run would mislead.

    Fix: Give each service its own CPU limit in compose.yaml.
    """
    for pair in pairs:
        with start_as_on_the_hub(pair[0]) as left, start_as_on_the_hub(pair[1]) as right:
            for container in (left, right):
                container.wait_until_serving()
                # Small enough for both Spaces and both clients on two CPUs.
                docker("update", "--cpus=0.5", container.id)
            for busy, quiet in ((left, right), (right, left)):
                before, during = idle_and_beside(busy, quiet)
                if during > before * 1.2 + NOISE_SECONDS:
                    violated(
                        expected=f"p95 of {quiet.name} at most {before * 1.2 * 1000:.1f} ms with load on {busy.name}",
                        actual=f"{during * 1000:.1f} ms",
                    )


def idle_and_beside(busy: Container, quiet: Container) -> tuple[float, float]:
    """The p95 of `quiet` alone, and with load on `busy`: the minimum of three to five windows each.

    Other work on this machine can only add time. The windows alternate, so that it slows both
    sides of the comparison.
    """
    p95(quiet)
    idle: list[float] = []
    under_load: list[float] = []
    while len(idle) < 3 or (len(idle) < 5 and min(under_load) > min(idle) * 1.2 + NOISE_SECONDS):
        idle.append(p95(quiet))
        with load(busy):
            under_load.append(p95(quiet))
    return min(idle), min(under_load)


def p95(container: Container) -> float:
    """The p95 of /health, in seconds."""
    seconds = []
    for _ in range(100):
        began = time.perf_counter()
        container.get("/health")
        seconds.append(time.perf_counter() - began)
    return sorted(seconds)[94]


@contextmanager
def load(container: Container) -> Iterator[None]:
    """Requests to /health from a separate process, as fast as one connection allows, for at most 20 s."""
    url = urlsplit(container.url)
    script = f"""
import http.client, time
end = time.monotonic() + 20
connection = http.client.HTTPConnection({url.hostname!r}, {url.port}, timeout=5)
while time.monotonic() < end:
    connection.request("GET", "/health")
    connection.getresponse().read()
"""
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    try:
        yield
        assert process.poll() is None, "the load ended before the measurement did"
    finally:
        process.kill()
        process.wait()
