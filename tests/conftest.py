"""What the tests stand on: the run, the images, the stack, a Space of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from preflight import stack
from preflight.container import Container, start
from preflight.image import Image, build_space
from preflight.rehearsal import HUB
from preflight.run import Run, failed
from preflight.space import Space, spaces_of_compose

if TYPE_CHECKING:
    from preflight.hub import HubInABox

pytest_plugins = [
    "preflight.plugin",
    "preflight.targets",
    "preflight.report",
    "preflight.unchanged",
]

ROOT = Path(__file__).resolve().parent.parent

ImageOf = Callable[[Space], Image]
StartSpace = Callable[..., Container]


@pytest.fixture(scope="session")
def own_spaces(spaces: list[Space], pytestconfig: pytest.Config) -> dict[str, Space]:
    """The Spaces of compose.yaml, by the name of their service; with `--ref`, as they are committed."""
    if not pytestconfig.getoption("--ref"):
        spaces = spaces_of_compose(ROOT / "compose.yaml")
    return {space.name: space for space in spaces}


@pytest.fixture(scope="session")
def image_of(run: Run) -> ImageOf:
    """Builds a Space's image as the Hub would, once per run."""
    return lambda space: build_space(run, space)


@pytest.fixture(scope="session")
def start_as_on_the_hub(run: Run, image_of: ImageOf) -> StartSpace:
    """Starts any Space with a valid environment and what the Hub injects; the caller removes it."""

    def begin(space: Space, options: Sequence[str] = ()) -> Container:
        declared = space.declaration.valid_environment() if space.declaration else {}
        environment = {**HUB.environment(space.name, space.name), **declared}
        return start(run, image_of(space), space.name, environment, space.app_port, options)

    return begin


@pytest.fixture(scope="session")
def docker_compose_project_name(run: Run) -> str:
    return run.id


@pytest.fixture(scope="session")
def docker_compose_file(run: Run, own_spaces: dict[str, Space], image_of: ImageOf) -> list[str]:
    """Production, the differences for the test run, and the images of this run."""
    with ThreadPoolExecutor() as pool:
        images = dict(zip(own_spaces, pool.map(image_of, own_spaces.values()), strict=True))
    override = stack.write_override(run, images)
    return [str(ROOT / "compose.yaml"), str(ROOT / "compose.test.yaml"), str(override)]


@pytest.fixture(scope="session")
def docker_services(
    run: Run, docker_compose_file: list[str], docker_compose_project_name: str
) -> stack.Services:
    """The stack, started once per run; the run removes it at its end."""
    compose = stack.Compose("docker compose", docker_compose_file, docker_compose_project_name)
    run.once("stack", lambda: stack.up(run, compose))
    return stack.Services(compose)


@pytest.fixture(scope="session")
def backend_py(docker_services: stack.Services) -> Container:
    """backend-py as the stack runs it."""
    return docker_services.container("backend-py")


@pytest.fixture(scope="session")
def backend_node(docker_services: stack.Services) -> Container:
    """backend-node as the stack runs it."""
    return docker_services.container("backend-node")


@pytest.fixture(scope="session")
def hub(run: Run, worker_id: str) -> Iterator[HubInABox]:
    """A Hub in a box, for `git push` and for the official client: `hub.remote(id)`, `hub.api`."""
    # Imported here: the official client takes a while to load, and few tests need it.
    from preflight.hub import HubInABox

    with HubInABox(run.folder / f"a hub {worker_id}") as started:
        yield started


@pytest.fixture
def start_space(
    run: Run, request: pytest.FixtureRequest, own_spaces: dict[str, Space], image_of: ImageOf
) -> Iterator[StartSpace]:
    """Starts a Space of compose.yaml in a container of its own, with just the environment given.

    `start_space("backend-py", {"RAG_MODE": "embedded"}, options=["--read-only"])` returns the
    Container at once; `wait_until_serving` or `wait_for_exit` comes next. Removed after the test;
    when the test fails, its log and state are kept.
    """
    started: list[Container] = []

    def begin(name: str, environment: Mapping[str, str], options: Sequence[str] = ()) -> Container:
        space = own_spaces[name]
        container = start(run, image_of(space), name, environment, space.app_port, options)
        started.append(container)
        return container

    yield begin
    for container in started:
        if failed(request.node):
            container.save(run.folder)
        container.remove()
