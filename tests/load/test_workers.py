"""compose.load.yaml: two workers and a master in containers must give one verdict on both Spaces."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from preflight.engine.base_images import named_in
from preflight.engine.compose import Compose
from preflight.engine.container import Container
from preflight.engine.docker import DockerError, docker
from preflight.engine.image import stand_in
from preflight.engine.run import LABEL, Run
from preflight.model.space import Space
from tests.conftest import ImageOf

from .conftest import ROOT, Bench

DOCKERFILE = ROOT / "loadtests" / "Dockerfile"
# Packages of the harness that a load worker does not need.
NOT_FOR_WORKERS = ("playwright", "cohere", "ruff", "schemathesis", "pytest_docker")
SETTINGS = {
    "BACKEND_PY_PORT": "0",
    "BACKEND_NODE_PORT": "0",
    "LOCUST_PORT": "0",
    "LOCUST_MASTER_PORT": "0",
    "LOCUST_HEADLESS": "1",
    "LOCUST_EXPECT_WORKERS": "2",
    "LOCUST_RUN_TIME": "20s",
    "LOCUST_SLO": "/slo.toml",
}


@pytest.fixture(scope="module")
def worker_image(run: Run) -> str:
    """The image of the load workers, as compose.load.yaml builds it."""
    image = f"preflight/load-worker:{run.id}"
    contexts = [
        f"--build-context={base}=docker-image://{other}"
        for base in named_in(DOCKERFILE.read_text())
        if (other := stand_in(base))
    ]
    docker(
        "buildx", "build", "--load", f"--tag={image}", *run.labels, *contexts, f"--file={DOCKERFILE}",
        str(ROOT), deadline=600,
    )  # fmt: skip
    return image


@pytest.fixture
def stack(
    run: Run,
    bench: Bench,
    worker_image: str,
    own_spaces: dict[str, Space],
    image_of: ImageOf,
    tmp_path: Path,
) -> Iterator[Compose]:
    with ThreadPoolExecutor() as pool:
        images = dict(zip(own_spaces, pool.map(image_of, own_spaces.values()), strict=True))
    labels = {LABEL: run.id}
    of_spaces = {name: {"image": image.tag, "labels": labels} for name, image in images.items()}
    worker = {"image": worker_image, "labels": labels}
    master = worker | {
        "environment": {"LOCUST_HTML": "/tmp/load.html", "LOCUST_TAGS": "backend-py"},
        "configs": [{"source": "slo", "target": "/slo.toml"}],
    }
    services = of_spaces | {"master": master, "worker": worker}
    override = tmp_path / "compose.images.json"
    configs = {"slo": {"content": bench.slo(p50=60_000, failures=1).read_text()}}
    override.write_text(json.dumps({"services": services, "configs": configs}))
    files = [ROOT / "compose.yaml", ROOT / "compose.load.yaml", override]
    stack = Compose(files, f"{run.id}-load", SETTINGS)
    yield stack
    stack.down()


def test_the_merged_figures_of_two_workers_must_be_judged(stack: Compose, tmp_path: Path) -> None:
    ended = "--exit-code-from=master"
    with suppress(DockerError):  # its text holds only the last lines
        stack.run("up", "--no-build", "--scale=worker=2", ended, "--no-color", deadline=240)
    master = Container("master", stack.container("master"), 8089)
    said = master.logs()
    assert master.state["ExitCode"] == 0, said
    assert "Load: held (exit code 0)" in said
    docker("cp", f"{master.id}:/tmp/load.json", str(tmp_path))
    verdict = json.loads((tmp_path / "load.json").read_text())
    assert verdict["generator"]["processes"] == 2
    assert sum(verdict["people"].values()) == 10
    judged = [row for row in verdict["requests"] if row["verdict"] != "not run"]
    assert len(judged) == 6
    assert all(row["samples"] for row in judged)
    assert verdict["targets"]["backend-py"] == "http://backend-py:7860"


def test_a_worker_image_must_hold_only_what_it_needs(worker_image: str) -> None:
    base = next(iter(named_in(DOCKERFILE.read_text())))
    sizes = [
        int(docker("image", "inspect", "--format={{.Size}}", image).stdout)
        for image in (worker_image, stand_in(base) or base)
    ]
    assert sizes[0] - sizes[1] <= 120e6, f"{(sizes[0] - sizes[1]) / 1e6:.0f} MB above {base}"
    look = f"import importlib.util as u; print([n for n in {NOT_FOR_WORKERS} if u.find_spec(n)])"
    found = docker("run", "--rm", "--entrypoint=python", worker_image, "-c", look)
    assert found.stdout.strip() == "[]"


def test_the_lock_of_the_workers_must_be_part_of_the_harness_lock() -> None:
    """The locked versions must agree: a master refuses a worker with another Locust version."""
    own, whole = (
        {line for line in (ROOT / path).read_text().splitlines() if "==" in line}
        for path in ("loadtests/requirements.txt", "requirements.txt")
    )
    versions = {line.split(";")[0].split("\\")[0].strip() for line in whole}
    assert {line.split(";")[0].split("\\")[0].strip() for line in own} <= versions
