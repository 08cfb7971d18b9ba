"""The two Spaces of compose.yaml, which pytest-docker starts for the whole run.

`docker_services` is pytest-docker's own fixture. tests/conftest.py overrides the documented
hooks: the compose files, the project's name, the set-up and the clean-up.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
from pytest_docker.plugin import Services

from preflight.engine import install
from preflight.engine.compose import Compose

# The CORS_ORIGINS of compose.test.yaml.
LISTED = "https://front.example.app"


class Caller(requests.Session):
    """An HTTP client of one Space: `caller.get("/health")`."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url

    def request(
        self, method: str | bytes, url: str | bytes, *args: object, **kwargs: object
    ) -> requests.Response:
        kwargs.setdefault("timeout", 10)
        return super().request(method, f"{self.url}{url!s}", *args, **kwargs)  # type: ignore[arg-type]


@pytest.fixture(scope="session", params=["backend-py", "backend-node"])
def service(request: pytest.FixtureRequest) -> str:
    """The name of a Space's service; each test runs for each Space."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def caller(service: str, docker_services: Services) -> Iterator[Caller]:
    """A client of the Space, which is healthy."""
    # A restart changes the port, so pytest-docker's cache would be stale.
    port = docker_services.port_for(service, 7860)
    with Caller(f"http://{install.host()}:{port}") as session:
        yield session


@pytest.fixture(scope="session")
def run_once(service: str, docker_services: Services, stack: Compose) -> RunOnce:
    """Runs another container of the Space's service, with another environment, until it ends."""
    return RunOnce(service, stack)


class RunOnce:
    """`docker compose run` of one service, removed at its end."""

    def __init__(self, service: str, stack: Compose) -> None:
        self._service, self._stack = service, stack

    def __call__(self, **environment: str) -> tuple[int, str]:
        """Exit code and output of the container; an empty value means an absent variable."""
        given = [f"--env={name}={value}" for name, value in environment.items()]
        done = self._stack.try_run("run", "--rm", "--no-deps", "--no-TTY", *given, self._service)
        return done.returncode, done.stdout + done.stderr
