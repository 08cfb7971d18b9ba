"""What the checks ask: the Space's image, and the Space itself, running as on the Hub.

Where the image does not build or the Space does not start, one check fails with the reason
(`image.builds`, `start.serves`) and every other one that needs it is skipped by that name.

A check says by what it takes where it has to ask: `subject` at the Space's own port or, with
`--through edge`, as the world does on the Hub; `direct` and `container` at the port itself alone.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from preflight.engine.answering import Answering, NoAnswer
from preflight.engine.container import Container
from preflight.engine.docker import DockerError
from preflight.engine.edge import Edge, ThroughEdge
from preflight.engine.image import BuildError, Image
from preflight.engine.layers import Contents
from preflight.engine.rehearsal import Rehearsal
from preflight.engine.run import Run
from preflight.engine.start import Live, Start, wake
from preflight.model.environment import EnvironmentDeclarationError
from preflight.model.problems import CannotJudge
from preflight.model.space import Space

HERE = Path(__file__).parent
# What is made in the background takes longest; what measures time waits until all of it is made.
_LAST = ("contents", "hardened", "lonely", "second_life", "tried", "unhurried")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the checks of each Space in the order in which their outcomes are there: folder, start, rest."""

    def stage(item: pytest.Item) -> int:
        names = item.fixturenames if isinstance(item, pytest.Function) else []
        if HERE not in item.path.parents or ("built" not in names and "started" not in names):
            return 0
        # The two that the skips of all others name.
        if item.name.startswith(("test_builds[", "test_serves[")):
            return 1
        return 2 + sum(name in names for name in _LAST)

    spaces = list(dict.fromkeys(map(_space_of, items)))
    items.sort(key=lambda item: (spaces.index(_space_of(item)), stage(item)))


def _space_of(item: pytest.Item) -> object:
    callspec = getattr(item, "callspec", None)
    space = callspec.params.get("space") if callspec else None
    return getattr(space, "name", None)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup() -> Generator[None, object, object]:
    with _judged_elsewhere():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Generator[None, object, object]:
    with _judged_elsewhere():
        return (yield)


@contextmanager
def _judged_elsewhere() -> Iterator[None]:
    """That a Space does not answer in HTTP is one finding, whichever check meets it."""
    try:
        yield
    except NoAnswer as error:
        pytest.skip(f"not checked: {error}; see start.answers_in_http")


@pytest.fixture(scope="session")
def wanted(request: pytest.FixtureRequest) -> set[str]:
    """The fixtures that the chosen checks take: what is to be made ahead of them."""
    items = (item for item in request.session.items if isinstance(item, pytest.Function))
    return {name for item in items for name in item.fixturenames}


@pytest.fixture(scope="session")
def rehearsal(space: Space, run: Run, wanted: set[str]) -> Iterator[Rehearsal]:
    """The Space's image and containers, in the making from here on."""
    with Rehearsal(run, space) as made:
        made.begin(wanted)
        yield made


@pytest.fixture(scope="session", autouse=True)
def ahead(space: Space, wanted: set[str], request: pytest.FixtureRequest) -> None:
    """The build goes on while the folder is checked."""
    if "built" in wanted and not _not_buildable(space):
        # The first check that needs it fails with the reason.
        with suppress(DockerError, CannotJudge):
            request.getfixturevalue("rehearsal")


def _not_buildable(space: Space) -> str:
    """Why nothing is built; empty when the Space can be."""
    if space.url is not None:
        return f"needs the Docker engine: {space.name} is known by its URL alone"
    if not (space.folder / "Dockerfile").is_file():
        return "there is no Dockerfile: see push.dockerfile_is_at_the_root"
    try:
        _ = space.declaration
    except EnvironmentDeclarationError:
        return "the declaration cannot be read: see declaration.can_be_read"
    return ""


@pytest.fixture(scope="session")
def built(space: Space, request: pytest.FixtureRequest) -> Image | BuildError:
    """The Space's image, or why it does not build."""
    if reason := _not_buildable(space):
        pytest.skip(reason)
    try:
        image: Image = request.getfixturevalue("rehearsal").image()
        return image
    except BuildError as error:
        return error


@pytest.fixture(scope="session")
def image(built: Image | BuildError) -> Image:
    """The Space's image, built as the Hub builds it."""
    if isinstance(built, BuildError):
        pytest.skip("not checked: the image does not build, see image.builds")
    return built


@pytest.fixture(scope="session")
def contents(image: Image, rehearsal: Rehearsal) -> Contents:
    """The image's layers."""
    return rehearsal.contents()


@pytest.fixture
def unhurried(image: Image, rehearsal: Rehearsal) -> None:
    """Nothing goes on in the background: for what measures time."""
    rehearsal.quiet()


@pytest.fixture(scope="session")
def started(space: Space, request: pytest.FixtureRequest) -> Start:
    """How the Space's one start for all checks went, or with `--live` its waking."""
    if space.url is not None:
        return wake(Live(space.name, space.url))
    request.getfixturevalue("image")
    begun: Start = request.getfixturevalue("rehearsal").started()
    return begun


def through_an_edge(config: pytest.Config) -> bool:
    """Whether Spaces are probed as the world reaches them on the Hub."""
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
