"""What the checks ask: the Space's image, and the Space itself, running as on the Hub.

Where the image does not build or the Space does not start, one check fails with the reason
(`image.builds`, `start.serves`) and every other one that needs it is skipped by that name.

A check says by what it takes where it has to ask: `subject` at the Space's own port or, with
`--through edge`, as the world does on the Hub; `direct` and `container` at the port itself alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from preflight.engine.container import Answering, Container
from preflight.engine.edge import Edge, ThroughEdge
from preflight.engine.image import BuildError, Image, build_space
from preflight.engine.layers import Contents, contents_of
from preflight.engine.run import Run
from preflight.engine.start import Live, Start, start_once, wake
from preflight.model.environment import EnvironmentDeclarationError
from preflight.model.space import Space

_live: dict[str, Start] = {}
_reading: dict[str, Future[Contents]] = {}
_reader = ThreadPoolExecutor(1)


@pytest.fixture
def built(space: Space, request: pytest.FixtureRequest) -> Image | BuildError:
    """The Space's image, or why it does not build."""
    if space.url is not None:
        pytest.skip(f"needs the Docker engine: {space.name} is known by its URL alone")
    if not (space.folder / "Dockerfile").is_file():
        pytest.skip("there is no Dockerfile: see push.dockerfile_is_at_the_root")
    try:
        _ = space.declaration
    except EnvironmentDeclarationError:
        pytest.skip("the declaration cannot be read: see declaration.can_be_read")
    try:
        return build_space(request.getfixturevalue("run"), space)
    except BuildError as error:
        return error


@pytest.fixture
def image(built: Image | BuildError, space: Space, request: pytest.FixtureRequest) -> Image:
    """The Space's image, built as the Hub builds it."""
    if isinstance(built, BuildError):
        pytest.skip("not checked: the image does not build, see image.builds")
    wanted = (
        item.fixturenames for item in request.session.items if isinstance(item, pytest.Function)
    )
    if any("contents" in names for names in wanted) and not through_an_edge(request.config):
        # Takes a few seconds, mostly the engine's: begun as soon as there is an image.
        _read(request.getfixturevalue("run"), space, built)
    return built


@pytest.fixture
def contents(run: Run, space: Space, image: Image) -> Contents:
    """The image's layers, read once for all checks."""
    return _read(run, space, image).result()


def _read(run: Run, space: Space, image: Image) -> Future[Contents]:
    if space.name not in _reading:
        _reading[space.name] = _reader.submit(contents_of, run, image, _secrets(space))
    return _reading[space.name]


@pytest.fixture
def unhurried(space: Space, image: Image) -> None:
    """Nothing that was begun in the background goes on: for what measures time."""
    if space.name in _reading:
        _reading[space.name].result()


@pytest.fixture
def secrets(space: Space) -> dict[str, str]:
    """The values of Secrets that the build was given and that stand in no file of the Space."""
    return _secrets(space)


def _secrets(space: Space) -> dict[str, str]:
    declaration = space.declaration
    if declaration is None:
        return {}
    given = declaration.valid_environment()
    made_up = [one for one in declaration.secrets if len(given.get(one.name, "")) >= 16]
    return {
        one.name: given[one.name]
        for one in made_up
        if given[one.name] not in (one.example, one.default, one.sample)
    }


@pytest.fixture
def started(space: Space, request: pytest.FixtureRequest) -> Start:
    """How the Space's one start for all checks went, or with `--live` its waking."""
    if space.url is None:
        image: Image = request.getfixturevalue("image")
        return start_once(request.getfixturevalue("run"), space, image)
    if space.name not in _live:
        _live[space.name] = wake(Live(space.name, space.url))
    return _live[space.name]


def through_an_edge(config: pytest.Config) -> bool:
    """Whether Spaces are asked as the world asks on the Hub; little is asked of their images then."""
    return bool(config.getoption("--through") == "edge")


@pytest.fixture(scope="session")
def through_edge(request: pytest.FixtureRequest) -> Iterator[Callable[[Container], Answering]]:
    """Gives a running Space as the world reaches it on the Hub: each behind an edge of its own."""
    known: dict[str, Answering] = {}
    with ExitStack() as edges:

        def behind(container: Container) -> Answering:
            if container.name not in known:
                # Its network belongs to the observer, so that is what the edge has to reach.
                owner = container.observer.id if container.observer else container.id
                reached = Container(container.name, owner, container.port)
                settings = {"APP_PORT": f"{container.port}"}
                run = request.getfixturevalue("run")
                edge = edges.enter_context(Edge(run, {container.name: reached}, settings))
                known[container.name] = edge.space(container.name)
            return known[container.name]

        yield behind


@pytest.fixture
def subject(
    started: Start,
    pytestconfig: pytest.Config,
    through_edge: Callable[[Container], Answering],
) -> Answering:
    """The Space, running here or, with `--live`, at its URL: `.get(path)`, `.post(path, json=…)` …"""
    if started.failure is not None or started.subject is None:
        pytest.skip("not checked: the Space does not start, see start.serves")
    if through_an_edge(pytestconfig) and started.container:
        return through_edge(started.container)
    return started.subject


@pytest.fixture
def direct(subject: Answering) -> Answering:
    """The Space at its own port, for what the Hub's edge answers in its place, or adds to."""
    host = subject.host if isinstance(subject, Live) else ""
    if isinstance(subject, ThroughEdge) or host.endswith((".hf.space", ".hf.localhost")):
        pytest.skip("needs the Space's own port: the Hub's edge answers this in its place")
    return subject


@pytest.fixture
def container(space: Space, subject: Answering) -> Container:
    """The Space, running in this machine's engine. Do not stop it: other checks use it too."""
    if isinstance(subject, ThroughEdge):
        pytest.skip("needs the Space's own container: judged without --through edge")
    if not isinstance(subject, Container):
        pytest.skip(f"needs the Docker engine: {space.name} is known by its URL alone")
    return subject
