"""What the checks probe: the Space's image, and the Space itself, running as on the Hub.

If the image does not build or the Space does not start, one check fails with the reason
(`image.builds`, `start.serves`). Every other check that needs it is skipped and names that check.

A check's fixtures determine where it sends requests. `subject` goes through the edge, as visitors do
on the Hub. `visited` is what a browser gets there. `direct` and `container` go to the Space's own port.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from preflight.contract.findings import not_promised
from preflight.engine.docker import DockerError
from preflight.model.environment import EnvironmentDeclarationError
from preflight.model.frontmatter import FrontMatterError
from preflight.model.git import Repository
from preflight.model.hub_profile import HUB
from preflight.model.problems import CannotJudge
from preflight.model.space import Space
from preflight.rules.dockerfile import Dockerfile, DockerfileError

# Checks of the folder alone do not need the engine, so it is imported where it is used.
if TYPE_CHECKING:
    from preflight.engine.answering import Answering
    from preflight.engine.container import Container
    from preflight.engine.image import BuildError, Image
    from preflight.engine.layers import Contents
    from preflight.engine.proxied import Refused
    from preflight.engine.rehearsal import Rehearsal
    from preflight.engine.run import Run
    from preflight.engine.start import Start
    from preflight.engine.visitor import Answer, Visit
    from preflight.rules.pages import Page
    from preflight.rules.sources import Sources

HERE = Path(__file__).parent
# Outcomes made in the background take longest. Checks that measure time wait until these are made.
_LAST = ("contents", "hardened", "isolated", "second_life", "tried", "unhurried")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run each Space's checks in the order in which their outcomes are available: folder, start, rest."""

    def stage(item: pytest.Item) -> int:
        names = item.fixturenames if isinstance(item, pytest.Function) else []
        if HERE not in item.path.parents or ("built" not in names and "started" not in names):
            return 0
        # All other checks' skips name these two.
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
    """Skip a check whose request got no HTTP answer: start.answers_in_http reports it once. Skip a
    check whose request must not be sent to a live Space."""
    try:
        yield
    except Exception as error:
        from preflight.engine.answering import NoAnswer
        from preflight.engine.live import NotSent

        if isinstance(error, NoAnswer):
            pytest.skip(f"not checked: {error}; see start.answers_in_http")
        if isinstance(error, NotSent):
            pytest.skip(f"not checked: {error}")
        raise


@pytest.fixture(scope="session")
def wanted(request: pytest.FixtureRequest) -> set[str]:
    """The fixtures of the selected checks, which are prepared in advance."""
    items = (item for item in request.session.items if isinstance(item, pytest.Function))
    return {name for item in items for name in item.fixturenames}


@pytest.fixture(scope="session")
def dockerfile(space: Space) -> Dockerfile:
    """The Space's Dockerfile. Without a readable one, push and dockerfile.can_be_read have the finding."""
    try:
        return Dockerfile.of_folder(space.folder)
    except (FileNotFoundError, DockerfileError):
        pytest.skip("needs a Dockerfile that can be read")


@pytest.fixture(scope="session")
def sources(space: Space, dockerfile: Dockerfile) -> Sources:
    """The Space's own code."""
    from preflight.rules.sources import Sources

    return Sources.of_folder(space.folder, dockerfile)


@pytest.fixture(scope="session")
def committed(space: Space) -> Repository | None:
    """The repository to be pushed; None if nothing of the folder is committed."""
    _ = space.folder  # Skips where only a URL is known.
    assert space.working_folder is not None
    found = Repository.of_folder(space.working_folder, space.ref or "HEAD")
    return found if found and found.tracked else None


@pytest.fixture
def repository(committed: Repository | None) -> Repository:
    """The history to be pushed."""
    if committed is None:
        pytest.skip("nothing of the folder is committed to a git repository: nothing to push yet")
    return committed


@pytest.fixture(scope="session")
def rehearsal(space: Space, run: Run, wanted: set[str]) -> Iterator[Rehearsal]:
    """The Space's image and containers; building them starts here."""
    from preflight.engine.rehearsal import Rehearsal

    with Rehearsal(run, space) as made:
        made.begin(wanted)
        yield made


@pytest.fixture(scope="session", autouse=True)
def ahead(space: Space, wanted: set[str], request: pytest.FixtureRequest) -> None:
    """Build the image while the folder is checked."""
    if "built" in wanted and not _not_buildable(space):
        # The first check that needs the image fails with the reason.
        with suppress(DockerError, CannotJudge):
            request.getfixturevalue("rehearsal")


def _not_buildable(space: Space) -> str:
    """Why nothing is built; empty when the Space can be built."""
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
    from preflight.engine.image import BuildError

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
    from preflight.engine.image import BuildError

    if isinstance(built, BuildError):
        pytest.skip("not checked: the image does not build, see image.builds")
    return built


@pytest.fixture(scope="session")
def contents(image: Image, rehearsal: Rehearsal) -> Contents:
    """The image's layers."""
    return rehearsal.contents()


@pytest.fixture
def unhurried(image: Image, rehearsal: Rehearsal) -> None:
    """Nothing runs in the background, for checks that measure time."""
    rehearsal.quiet()


@pytest.fixture(scope="session")
def started(space: Space, request: pytest.FixtureRequest) -> Start:
    """How the Space's start, shared by all checks, went; with `--live`, how it woke."""
    from preflight.engine.live import Live, wake

    if space.url is not None:
        writes = request.config.getoption("--live-writes")
        return wake(Live(space.name, space.url, writes))
    request.getfixturevalue("image")
    attempt: Start = request.getfixturevalue("rehearsal").started()
    return attempt


@pytest.fixture(scope="session")
def subject(started: Start, request: pytest.FixtureRequest) -> Answering:
    """The Space as visitors reach it: through the Hub's edge or, with `--live`, at its URL.

    `.get(path)`, `.post(path, json=…)` …
    """
    if started.failure is not None or started.subject is None:
        pytest.skip("not checked: the Space does not start, see start.serves")
    if started.container is None:
        return started.subject
    reached: Answering = request.getfixturevalue("rehearsal").subject()
    return reached


@pytest.fixture(scope="session")
def direct(subject: Answering, started: Start) -> Answering:
    """The Space at its own port, for answers that the Hub's edge gives itself or adds to."""
    from preflight.engine.edge import AtThePort
    from preflight.engine.live import Live

    if started.container is not None:
        return AtThePort(started.container)
    if isinstance(subject, Live) and subject.host.endswith((".hf.space", ".hf.localhost")):
        pytest.skip("needs the Space's own port: the Hub's edge answers this in its place")
    return subject


@pytest.fixture(scope="session")
def container(space: Space, started: Start) -> Container:
    """The Space, running in this machine's engine. Do not stop it: other checks use it too."""
    if started.failure is not None:
        pytest.skip("not checked: the Space does not start, see start.serves")
    if started.container is None:
        pytest.skip(f"needs the Docker engine: {space.name} is known by its URL alone")
    return started.container


@pytest.fixture(scope="session")
def front_page(space: Space) -> str:
    """The path that the Space's page on the Hub shows: `base_path` of the front matter, or /."""
    try:
        path = space.front_matter.get("base_path", "/") if space.source else "/"
    except FrontMatterError:
        path = "/"
    return path if isinstance(path, str) and path.startswith("/") else "/"


@pytest.fixture(scope="session")
def visited(space: Space, subject: Answering, front_page: str) -> Visit:
    """The Space's page as a browser loads it."""
    from preflight.engine.edge import ThroughEdge
    from preflight.engine.live import Live
    from preflight.engine.visitor import visit

    host = subject.host if isinstance(subject, ThroughEdge | Live) else HUB.host(space.name)
    readme = space.readme_bytes.decode("utf-8", "replace") if space.source else ""
    return visit(subject, host, front_page, readme)


@pytest.fixture(scope="session")
def posted(visited: Visit, subject: Answering) -> dict[str, Answer]:
    """The answers to the JSON that the Space lets a visitor post, by path."""
    from preflight.engine.forms import send_posts

    return send_posts(subject, visited)


@pytest.fixture(scope="session")
def refused(visited: Visit, subject: Answering, started: Start, front_page: str) -> list[Refused]:
    """Paths that the Space refuses for its public host name alone."""
    from preflight.engine.proxied import USUAL_PATHS, refused_by_name

    if started.container is None:
        return []
    paths = list(dict.fromkeys([front_page, *visited.paths, *USUAL_PATHS]))
    return refused_by_name(subject, started.container, paths)


@pytest.fixture(scope="session")
def host_refusal(visited: Visit, started: Start) -> str:
    """What the front page's error or the log says about the public host name; empty if nothing."""
    from preflight.engine.proxied import names_the_host

    return names_the_host(visited.front, started.container) if started.container else ""


@pytest.fixture(scope="session")
def page(visited: Visit) -> Page:
    """The front page, if it is HTML."""
    if visited.front.status >= 400 or visited.front.status == 0:
        pytest.skip("not checked: the front page does not answer, see start.front_page_answers")
    if visited.page is None:
        not_promised(f"the front page is {visited.front.kind or 'of no type'}, not HTML")
    return visited.page
