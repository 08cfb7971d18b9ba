"""The service must cost less than a build of it with the official SDKs."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

import pytest

from preflight.engine.container import Container, SpaceContainer
from preflight.engine.image import Image, build
from preflight.engine.run import Run
from preflight.model.space import Space
from tests.backend_py.asking import ask, stream, text_of
from tests.backend_py.conftest import COMMON, READ_ONLY
from tests.backend_py.figures import Figures
from tests.backend_py.test_figures import (
    FRESH_QUESTION,
    above_base,
    cpu_seconds,
    load,
    resident,
    start_seconds,
)
from tests.doubles.running import Upstreams

FOLDER = Path(__file__).with_name("sdk_build")
STARTS = 5


@dataclass
class Cost:
    """MB, seconds, seconds, MB, negative answers per second, CPU seconds: less is better in each."""

    image: float
    first_200: float
    first_answer: float
    idle: float
    rate: float
    cpu: float

    def row(self, name: str) -> str:
        cells = [
            f"{self.image:.0f} MB",
            f"{self.first_200:.2f} s",
            f"{self.first_answer:.2f} s",
            f"{self.idle:.0f} MB",
            f"{-self.rate:.0f}/s",
            f"{self.cpu * 1000:.1f} ms",
        ]
        return f"| {' | '.join([name, *cells])} |"


@pytest.mark.alone
@pytest.mark.thorough
def test_beside_the_sdks(
    run: Run,
    py_image: Image,
    own_spaces: dict[str, Space],
    cloud: Container,
    upstreams: Upstreams,
    figures: Figures,
) -> None:
    """The adapters over REST must cost less than the SDKs in image, start, memory and rate."""
    environment = {**COMMON, **upstreams.environment}
    options = [*upstreams.network, *READ_ONLY]

    def cost(image: Image) -> Cost:
        starts = [start_seconds(run, image, environment, options) for _ in range(STARTS)]
        first_200, first_answer = (statistics.median(times) for times in zip(*starts, strict=True))
        with SpaceContainer.start(run, image, "backend-py", environment, options=options) as space:
            space.wait_until_serving("/", status=200)
            idle = resident(space)
            expected = ask(cloud).json()["answer"]
            assert ask(space).json()["answer"] == text_of(stream(space)) == expected
            load(space, "/chat", FRESH_QUESTION, seconds=0.6)
            before = cpu_seconds(space)
            loaded = load(space, "/chat", FRESH_QUESTION, seconds=4)
            cpu = (cpu_seconds(space) - before) / loaded["count"]
            above = above_base(image, own_spaces["backend-py"].folder)
            return Cost(above, first_200, first_answer, idle, -loaded["rate"], cpu)

    theirs = cost(build(run, "sdk-build", FOLDER, variables={"BACKEND_PY": py_image.tag}))
    ours = cost(py_image)
    figures.table(
        "backend-py sdk",
        [
            "| adapters | image above its base | start to first 200 | to first answer "
            "| idle memory | `/chat` at 8 connections | CPU for each |",
            "|---|---|---|---|---|---|---|",
            ours.row("REST over `httpx2`: this Space"),
            theirs.row("`cohere` and `qdrant-client`"),
        ],
    )
    # The first 200 is not compared: the server listens before it loads the adapters.
    for name in ("image", "first_answer", "idle", "rate", "cpu"):
        assert getattr(ours, name) < getattr(theirs, name), name
