"""What the checks ask: the Space's image, and the Space itself, running as on the Hub.

Where the image does not build or the Space does not start, one check fails with the reason
(`image.builds`, `start.serves`) and every other one that needs it is skipped by that name.

A check says by what it takes where it sends requests: `subject` as the world does on the Hub, through
the edge; `visited` is what a browser gets there; `direct` and `container` at the Space's own port.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from preflight.contract.findings import not_promised
from preflight.engine.container import Answering, Container
from preflight.engine.edge import AtThePort, Edge, ThroughEdge, behind_its_edge, edge_once
from preflight.engine.image import BuildError, Image, build_space
from preflight.engine.layers import Contents, contents_of
from preflight.engine.proxied import USUAL_PATHS, Refused, names_the_host, refused_by_name
from preflight.engine.run import Run
from preflight.engine.start import Live, Start, start_once, wake
from preflight.engine.visitor import Visit, visit
from preflight.model.environment import EnvironmentDeclarationError
from preflight.model.frontmatter import FrontMatterError
from preflight.model.hub_profile import HUB
from preflight.model.space import Space
from preflight.rules.pages import Page

_live: dict[str, Start] = {}
_edges: dict[str, ThroughEdge] = {}
_visits: dict[str, Visit] = {}
_refused: dict[str, list[Refused]] = {}
_reading: dict[str, Future[Contents]] = {}
_reader = ThreadPoolExecutor(1)
_awaited: dict[str, Future[Edge]] = {}
_beside = ThreadPoolExecutor(1)


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
    run = request.getfixturevalue("run")
    if space.name not in _awaited and _requested(request, "subject"):
        # The edge needs a second, and no Space yet: it gets ready beside the build and the start.
        _awaited[space.name] = _beside.submit(edge_once, run, space.name, space.app_port)
    try:
        return build_space(run, space)
    except BuildError as error:
        return error


@pytest.fixture
def image(built: Image | BuildError, space: Space, request: pytest.FixtureRequest) -> Image:
    """The Space's image, built as the Hub builds it."""
    if isinstance(built, BuildError):
        pytest.skip("not checked: the image does not build, see image.builds")
    if _requested(request, "contents"):
        # Takes a few seconds, mostly the engine's: begun as soon as there is an image.
        _read(request.getfixturevalue("run"), space, built)
    return built


def _requested(request: pytest.FixtureRequest, fixture: str) -> bool:
    """Whether any test of this session takes a fixture."""
    return any(
        fixture in item.fixturenames
        for item in request.session.items
        if isinstance(item, pytest.Function)
    )


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


@pytest.fixture
def subject(started: Start, request: pytest.FixtureRequest) -> Answering:
    """The Space as the world reaches it: through the Hub's edge or, with `--live`, at its URL.

    `.get(path)`, `.post(path, json=…)` …
    """
    if started.failure is not None or started.subject is None:
        pytest.skip("not checked: the Space does not start, see start.serves")
    if started.container is None:
        return started.subject
    if started.container.name not in _edges:
        run = request.getfixturevalue("run")
        _edges[started.container.name] = behind_its_edge(run, started.container)
    return _edges[started.container.name]


@pytest.fixture
def direct(subject: Answering, started: Start) -> Answering:
    """The Space at its own port, for what the Hub's edge answers in its place, or adds to."""
    if started.container is not None:
        return AtThePort(started.container)
    if isinstance(subject, Live) and subject.host.endswith((".hf.space", ".hf.localhost")):
        pytest.skip("needs the Space's own port: the Hub's edge answers this in its place")
    return subject


@pytest.fixture
def container(space: Space, started: Start, subject: Answering) -> Container:
    """The Space, running in this machine's engine. Do not stop it: other checks use it too."""
    if started.container is None:
        pytest.skip(f"needs the Docker engine: {space.name} is known by its URL alone")
    return started.container


@pytest.fixture
def front_page(space: Space) -> str:
    """The path that the Space's page on the Hub shows: `base_path` of the front matter, or /."""
    try:
        path = space.front_matter.get("base_path", "/") if space.source else "/"
    except FrontMatterError:
        path = "/"
    return path if isinstance(path, str) and path.startswith("/") else "/"


@pytest.fixture
def visited(space: Space, subject: Answering, front_page: str) -> Visit:
    """The Space's page as a browser loads it, once for all checks."""
    if space.name not in _visits:
        host = subject.host if isinstance(subject, ThroughEdge | Live) else HUB.host(space.name)
        readme = space.readme_bytes.decode("utf-8", "replace") if space.source else ""
        _visits[space.name] = visit(subject, host, front_page, readme)
    return _visits[space.name]


@pytest.fixture
def refused(visited: Visit, subject: Answering, started: Start, front_page: str) -> list[Refused]:
    """Paths that are refused to the public host name alone, found once for all checks."""
    name = subject.name
    if started.container is None:
        return []
    if name not in _refused:
        paths = list(dict.fromkeys([front_page, *visited.paths, *USUAL_PATHS]))
        _refused[name] = refused_by_name(subject, started.container, paths)
    return _refused[name]


@pytest.fixture
def host_refusal(visited: Visit, started: Start) -> str:
    """What the front page's error, or the log, says of the public host name; empty where nothing."""
    return names_the_host(visited.front, started.container) if started.container else ""


@pytest.fixture
def page(visited: Visit) -> Page:
    """The front page, where it is one of HTML."""
    if visited.front.status >= 400 or visited.front.status == 0:
        pytest.skip("not checked: the front page does not answer, see start.front_page_answers")
    if visited.page is None:
        not_promised(f"the front page is {visited.front.kind or 'of no type'}, not HTML")
    return visited.page
