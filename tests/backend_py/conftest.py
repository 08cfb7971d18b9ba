"""backend-py in embedded mode, and in cloud mode with stand-ins for Cohere and Qdrant."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest
import requests

from preflight.engine.container import Container, SpaceContainer
from preflight.engine.docker import docker
from preflight.engine.image import Image, base_images, build_space, stand_in
from preflight.engine.run import Run
from preflight.model.space import Space
from tests.backend_py.asking import ORIGIN, ask
from tests.backend_py.figures import Figures
from tests.doubles.running import Upstreams, doubles_image, upstreams, upstreams_starting

__all__ = ["doubles_image", "upstreams", "upstreams_starting"]

# No rate limits: only the tests of the limits need them.
COMMON = {"CORS_ORIGINS": ORIGIN, "RATE_PER_MINUTE": "0", "GLOBAL_PER_MINUTE": "0"}
OTHER_COLLECTION = "other-book"
# The tests' own requests to the stand-in for Qdrant carry this key.
KEY = {"api-key": "k"}
FLAT = {"size": 1536, "distance": "Cosine"}
READ_ONLY = ["--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges"]

StartPy = Callable[..., Container]


@pytest.fixture(scope="session")
def py_image(run: Run, own_spaces: dict[str, Space]) -> Image:
    return build_space(run, own_spaces["backend-py"])


@pytest.fixture(scope="session")
def _shared(run: Run, py_image: Image) -> Iterator[StartPy]:
    """Starts containers that live as long as the test run: tests must not stop or limit them."""
    with ExitStack() as stack:

        def start(environment: Mapping[str, str], options: list[str]) -> Container:
            container = SpaceContainer.start(
                run, py_image, "backend-py", environment, options=options
            )
            stack.enter_context(container)
            container.wait_until_serving("/health", status=200)
            return container

        yield start


@pytest.fixture(scope="session")
def embedded(_shared: StartPy) -> Container:
    """The Space without keys and without upstreams, on a read-only disk."""
    token = {"FEEDBACK_TOKEN": "the-owner's-token-of-at-least-32-characters"}
    return _shared({**COMMON, **token, "RAG_MODE": "embedded", "HOME": ""}, READ_ONLY)


@pytest.fixture(scope="session")
def _filled(upstreams_starting: Upstreams, _shared: StartPy) -> Container:
    environment = {**COMMON, **upstreams_starting.environment, "UPSTREAM_TIMEOUT": "2"}
    options = [*upstreams_starting.network, *READ_ONLY]
    container = _shared({**environment, "QDRANT_TIMEOUT": "1"}, options)
    upstreams_starting.wait_until_serving()
    # A long time-out: the tests probe the Space with a slow Qdrant, not the push.
    push = ("python", "-m", "app.ingest", "push")
    docker("exec", "--env=QDRANT_TIMEOUT=30", container.id, *push, deadline=120)
    return container


@pytest.fixture(scope="session")
def _filled_strict(upstreams: Upstreams, _shared: StartPy, _filled: Container) -> Container:
    environment = {**COMMON, **upstreams.environment, "UPSTREAM_TIMEOUT": "2"}
    environment |= {"QDRANT_TIMEOUT": "1", "RAG_FALLBACK": "off"}
    return _shared(environment, [*upstreams.network, *READ_ONLY])


@pytest.fixture(scope="session")
def _set_otherwise(upstreams: Upstreams, _shared: StartPy) -> Container:
    environment = {**COMMON, **upstreams.environment, "COLLECTION_NAME": OTHER_COLLECTION}
    environment |= {"RERANK_MODEL": "rerank-v3.5", "RAG_FALLBACK": "off"}
    return _shared(environment, upstreams.network)


@pytest.fixture(scope="session")
def closed_port(upstreams: Upstreams, _shared: StartPy) -> Container:
    """The Space as on the Hub, with QDRANT_URL at port 6333, where nothing listens."""
    environment = {**COMMON, **upstreams.environment, "QDRANT_URL": "http://upstreams:6333"}
    environment |= {"SYSTEM": "spaces", "RAG_FALLBACK": "off"}
    return _shared(environment, upstreams.network)


@pytest.fixture
def cloud(_filled: Container, upstreams: Upstreams) -> Container:
    """The Space with working stand-ins; the index in the image answers while an upstream fails."""
    upstreams.reset()
    return _filled


@pytest.fixture
def cloud_strict(_filled_strict: Container, upstreams: Upstreams) -> Container:
    """The Space with working stand-ins and `RAG_FALLBACK=off`: it refuses while an upstream fails."""
    upstreams.reset()
    return _filled_strict


@pytest.fixture
def other(_set_otherwise: Container, upstreams: Upstreams) -> Callable[..., Container]:
    """Returns a Space with a reranker; its collection is recreated with exactly the given points."""

    def holding(points: list[dict[str, Any]], vectors: dict[str, Any] = FLAT) -> Container:
        upstreams.reset()
        collection = f"{upstreams.url}/collections/{OTHER_COLLECTION}"
        requests.delete(collection, headers=KEY)
        requests.put(collection, json={"vectors": vectors}, headers=KEY).raise_for_status()
        if points:
            answer = requests.put(f"{collection}/points", json={"points": points}, headers=KEY)
            answer.raise_for_status()
        # The first request clears what the Space has cached of the previous collection.
        ask(_set_otherwise)
        upstreams.reset()
        return _set_otherwise

    return holding


@pytest.fixture(scope="session")
def readers(
    run: Run, py_image: Image, own_spaces: dict[str, Space], upstreams_starting: Upstreams
) -> Iterator[Container]:
    """The image's build stage, which holds the document readers, idle beside the stand-ins."""
    folder = own_spaces["backend-py"].folder
    image = replace(py_image, tag=f"{py_image.tag}-readers")
    contexts = [
        f"--build-context={official}=docker-image://{replacement}"
        for official in base_images(folder)
        if (replacement := stand_in(official))
    ]
    docker(
        "buildx", "build", "--load", "--target=build", f"--tag={image.tag}",
        *run.labels, *contexts, str(folder), deadline=900,
    )  # fmt: skip
    options = [*upstreams_starting.network, "--interactive", "--entrypoint=cat"]
    environment = upstreams_starting.environment
    with SpaceContainer.start(run, image, "readers", environment, options=options) as container:
        upstreams_starting.wait_until_serving()
        yield container


@pytest.fixture(scope="session")
def bare(run: Run, doubles_image: Image) -> Iterator[Container]:
    """A container with uvicorn and an empty app: the baseline of every figure."""
    options = ["--entrypoint=/doubles/bare.py"]
    with SpaceContainer.start(run, doubles_image, "bare", {}, options=options) as container:
        container.wait_until_serving("/health", status=200)
        yield container


@pytest.fixture
def figures(capsys: pytest.CaptureFixture[str]) -> Figures:
    """Prints what a test measures and keeps it in docs/figures.md."""
    return Figures(capsys)
