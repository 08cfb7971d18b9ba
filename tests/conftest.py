"""Fixtures of all tests: the run, the images, the stack, a Space for a single test."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pytest_docker.plugin import Services

from preflight.engine import install
from preflight.engine.compose import Compose
from preflight.engine.container import Container, SpaceContainer
from preflight.engine.image import Image, build_space
from preflight.engine.run import LABEL, Run
from preflight.engine.start import environment_of
from preflight.model.space import Space, spaces_of_compose
from preflight.pytest_plugin.running import failed

if TYPE_CHECKING:
    from playwright.sync_api import Playwright

    from preflight.local_hub.box import HubInABox

pytest_plugins = ["tests.unchanged"]

ImageOf = Callable[[Space], Image]
StartSpace = Callable[..., SpaceContainer]

ROOT = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("preflight").addoption(
        "--selftest",
        choices=("sample", "all"),
        default="sample",
        help="how many broken Spaces tests/selftest judges",
    )


@pytest.fixture(scope="session")
def image_of(run: Run) -> ImageOf:
    """Builds a Space's image as the Hub would, once per run."""
    return lambda space: build_space(run, space)


@pytest.fixture(scope="session")
def start_as_on_the_hub(run: Run, image_of: ImageOf) -> StartSpace:
    """Starts any Space with a valid environment and the Hub's own variables; the caller removes it."""

    def begin(space: Space, options: Sequence[str] = ()) -> SpaceContainer:
        environment = environment_of(space)
        return SpaceContainer.start(
            run, image_of(space), space.name, environment, space.app_port, options
        )

    return begin


@pytest.fixture(scope="session")
def own_spaces(spaces: list[Space], pytestconfig: pytest.Config) -> dict[str, Space]:
    """The Spaces of compose.yaml, by the name of their service; with `--ref`, as committed."""
    if not pytestconfig.getoption("--ref"):
        spaces = spaces_of_compose(ROOT / "compose.yaml")
    return {space.name: space for space in spaces}


@pytest.fixture(scope="session")
def docker_compose_project_name(run: Run) -> str:
    return run.id


@pytest.fixture(scope="session")
def docker_compose_file(run: Run, own_spaces: dict[str, Space], image_of: ImageOf) -> list[str]:
    """Production, the differences for the test run, and the images of this run."""
    with ThreadPoolExecutor() as pool:
        images = dict(zip(own_spaces, pool.map(image_of, own_spaces.values()), strict=True))
    services = {
        name: {"image": image.tag, "pull_policy": "never", "labels": {LABEL: run.id}}
        for name, image in images.items()
    }
    override = run.folder / "once" / "compose.images.json"
    override.write_text(json.dumps({"services": services}, indent=1))
    return [str(ROOT / "compose.yaml"), str(ROOT / "compose.test.yaml"), str(override)]


@pytest.fixture(scope="session")
def stack(docker_compose_file: list[str], docker_compose_project_name: str) -> Compose:
    """The stack's Compose commands, each with a deadline; `docker_services` starts it."""
    return Compose(docker_compose_file, docker_compose_project_name, compose_environment())


def compose_environment() -> dict[str, str]:
    """The environment of Compose in tests, without the keys in a developer's `.env`."""
    local = install.host() == "127.0.0.1"
    return {
        "HOST_ADDRESS": "127.0.0.1" if local else "0.0.0.0",
        "COMPOSE_DISABLE_ENV_FILE": "1",
    }


@pytest.fixture(scope="session")
def docker_setup(run: Run, stack: Compose) -> list[str]:
    """Start the stack once for all workers of the run, in place of pytest-docker."""
    run.once("stack", stack.up)
    return []


@pytest.fixture(scope="session")
def docker_cleanup() -> list[str]:
    """The run removes the stack at its end, after the last worker."""
    return []


@pytest.fixture(scope="session")
def backend_py(docker_services: Services, stack: Compose) -> Container:
    """backend-py as the stack runs it."""
    return Container("backend-py", stack.container("backend-py"), 7860)


@pytest.fixture(scope="session")
def backend_node(docker_services: Services, stack: Compose) -> Container:
    """backend-node as the stack runs it."""
    return Container("backend-node", stack.container("backend-node"), 7860)


@pytest.fixture(scope="session")
def hub(run: Run, worker_id: str) -> Iterator[HubInABox]:
    """A Hub in a box, for `git push` and for the official client: `hub.remote(id)`, `hub.api`."""
    # Imported here: the official client loads slowly, and few tests need it.
    from preflight.local_hub.box import HubInABox

    with HubInABox(run.folder / f"a hub {worker_id}") as started:
        yield started


@pytest.fixture
def start_space(
    run: Run, request: pytest.FixtureRequest, own_spaces: dict[str, Space], image_of: ImageOf
) -> Iterator[StartSpace]:
    """Starts a Space of compose.yaml in a separate container, with the given environment alone.

    `start_space("backend-py", {"RAG_MODE": "embedded"}, options=["--read-only"])` returns the
    Container at once; call `wait_until_serving` or `wait_for_exit` next. The container is removed after
    the test; if the test fails, its log and state are kept.
    """
    started: list[SpaceContainer] = []

    def begin(
        name: str, environment: Mapping[str, str], options: Sequence[str] = ()
    ) -> SpaceContainer:
        space = own_spaces[name]
        container = SpaceContainer.start(
            run, image_of(space), name, environment, space.app_port, options
        )
        started.append(container)
        return container

    yield begin
    for container in started:
        if failed(request.node):
            container.save(run.folder)
        container.remove()


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    """Playwright, once for a process: a second one would meet the first one's event loop."""
    # Imported here: few tests need it.
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        yield started
