"""Runs the stand-ins of compose.test.yaml on a network that Spaces under test can join."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from preflight.engine.compose import Compose
from preflight.engine.container import Container
from preflight.engine.image import Image, build_own
from preflight.engine.run import LABEL, Run
from tests.conftest import compose_environment

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
PORT = 8080


class Upstreams:
    """Cohere and Qdrant for a test; with `environment`, backend-py uses them."""

    def __init__(self, container: Container, network: str) -> None:
        self._container = container
        self.url = container.url
        # Options of `docker run` with which a Space reaches the stand-ins by name.
        self.network = [f"--network={network}"]
        self.environment = {
            "RAG_MODE": "cloud",
            "COHERE_API_KEY": "key-of-the-cohere-double",
            "COHERE_BASE_URL": f"http://upstreams:{PORT}",
            "QDRANT_URL": f"http://upstreams:{PORT}",
            "QDRANT_API_KEY": "key-of-the-qdrant-double",
        }

    def wait_until_serving(self) -> None:
        self._container.wait_until_serving("/_control/calls", status=200)

    def reset(self, *, collections: bool = False) -> None:
        """Clear the fault, the answer and the recorded calls; with `collections` also Qdrant."""
        query = "?collections=1" if collections else ""
        self._container.request("DELETE", f"/_control{query}").raise_for_status()

    def fault(self, service: str, kind: str, **details: Any) -> None:
        """Make `service` fail from now on; `control.py` has the kinds and details."""
        body = {"service": service, "kind": kind, **details}
        self._container.request("PUT", "/_control/fault", json=body).raise_for_status()

    def answer(self, **details: Any) -> None:
        """Set the chat model's answer from now on."""
        self._container.request("PUT", "/_control/answer", json=details).raise_for_status()

    def calls(self, path: str = "") -> list[dict[str, Any]]:
        """The calls since the last reset, limited to those whose path contains `path`."""
        recorded: list[dict[str, Any]] = self._container.get("/_control/calls").json()
        return [call for call in recorded if path in call["path"]]


@pytest.fixture(scope="session")
def doubles_image(run: Run) -> Image:
    """The image of the stand-ins."""
    return build_own(run, "doubles", FOLDER)


@pytest.fixture(scope="session")
def upstreams(upstreams_starting: Upstreams) -> Upstreams:
    """The running stand-ins: a Compose project for each xdist worker and test folder."""
    upstreams_starting.wait_until_serving()
    return upstreams_starting


@pytest.fixture(scope="session")
def upstreams_starting(
    run: Run, doubles_image: Image, tmp_path_factory: Any
) -> Iterator[Upstreams]:
    """The stand-ins, possibly still starting: they need a second, and other fixtures can use it."""
    project, labels = f"{run.id}-{secrets.token_hex(4)}", {LABEL: run.id}
    service = {"image": doubles_image.tag, "pull_policy": "never", "labels": labels}
    override = tmp_path_factory.mktemp("doubles") / "compose.json"
    networks = {"backend-py": {"labels": labels}}
    override.write_text(json.dumps({"services": {"upstreams": service}, "networks": networks}))
    files = [str(ROOT / "compose.yaml"), str(ROOT / "compose.test.yaml"), str(override)]
    compose = Compose(files, project, compose_environment())
    try:
        compose.run("up", "--detach", "--no-build", "upstreams")
        container = Container("upstreams", compose.container("upstreams"), PORT)
        yield Upstreams(container, f"{project}_backend-py")
    finally:
        compose.run("down", "--timeout=0")
