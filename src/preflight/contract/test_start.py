"""The start: the Space listens where the Hub asks, answers, needs no more than it gets, and stays up."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from preflight.contract.findings import advise, material, require_none, show, violated
from preflight.engine.container import Answering, Container
from preflight.engine.image import Image
from preflight.engine.layers import Contents, home_of, uid_of
from preflight.engine.run import Run
from preflight.engine.start import Start, start_unobserved
from preflight.model.frontmatter import FrontMatterError
from preflight.model.hub_profile import DOCUMENTED_PORTS, HUB, outbound
from preflight.model.problems import Problem
from preflight.model.space import Space

# What a clean start prints is read by people; more than this hides the one line that matters.
LOG_BUDGET = 1024 * 1024


@pytest.fixture
def front_page(space: Space) -> str:
    """The path that the Space's page on the Hub shows: `base_path` of the front matter, or /."""
    try:
        path = space.front_matter.get("base_path", "/") if space.source else "/"
    except FrontMatterError:
        path = "/"
    return path if isinstance(path, str) and path.startswith("/") else "/"


def test_serves(started: Start) -> None:
    """Within its time, on 2 CPUs and with nothing cached, the Space answers HTTP on `app_port`, on all interfaces, and goes on running.

    Severity: breaks

    On the Hub: Launch timed out, workload was not healthy after 30 min; or "Runtime error"

    Fix: Listen on 0.0.0.0 and `app_port` first, then load models and reach dependencies.

    Source: observed: both texts stand on the pages of Spaces.
    """
    if started.failure:
        if started.log:
            material(Path(started.log))
        violated(
            expected=f"an HTTP answer within {HUB.start_deadline:g} s, and no end after it",
            actual=f"{started.failure.kind}: {started.failure.actual}",
            fix=started.failure.fix,
            on_the_hub=started.failure.on_the_hub,
        )
    show(
        "start",
        {
            "seconds": started.seconds,
            "timeline": started.timeline,
            "memory": started.memory,
            "memory_limit": HUB.memory,
        },
    )


def test_front_page_answers(subject: Answering, front_page: str) -> None:
    """GET on the page that the Hub shows (`base_path`, or /) answers with a status below 400.

    Severity: risk

    On the Hub: the Space is "Running" and its page shows "Not Found" or an error

    Fix: Answer GET / with a page or a short JSON, or set `base_path` in README.md to a path that answers.

    Source: observed: Spaces whose / answers 404 count as running.
    """
    status = subject.get(front_page, headers={"Accept": "text/html"}).status_code
    if status in (401, 403):
        advise(
            f"a status below 400 for GET {front_page}",
            f"{status}, which is all that visitors of the Space's page see",
        )
    elif status >= 400:
        violated(expected=f"a status below 400 for GET {front_page}", actual=f"{status}")


def test_front_page_answers_head(subject: Answering, front_page: str) -> None:
    """HEAD on that page answers as GET does.

    Severity: risk; advice without conventions

    On the Hub: the Space stays "Starting" though its log shows `HEAD / 405` (forum thread 174616; disputed)

    Fix: Answer HEAD where GET is answered: FastAPI routes need `methods=["GET", "HEAD"]`.

    Source: forum thread 174616, disputed.
    """
    if subject.get(front_page).status_code >= 400:
        pytest.skip("not checked: GET fails too, see start.front_page_answers")
    try:
        actual = str(subject.head(front_page).status_code)
    except requests.RequestException as error:
        actual = type(error).__name__
    if not actual.isdigit() or int(actual) >= 400:
        violated(
            expected=f"a status below 400 for HEAD {front_page}",
            actual=actual,
        )


def test_starts_without_alarms(started: Start, container: Container) -> None:
    """A clean start prints no line that tells of a warning or an error, and no flood.

    Severity: advice

    On the Hub: the one line that explains a failure is lost among those that are always there

    Fix: Cure what is warned of, or log it at a lower level.

    Source: ours: the Hub does not read logs.
    """
    for line in started.alarms:
        advise("a clean start without a warning", line)
    if started.log_bytes > LOG_BUDGET:
        advise(
            f"at most {LOG_BUDGET / 1024**2:g} MiB printed at a clean start",
            f"{started.log_bytes / 1024**2:.1f} MiB",
        )


def test_serves_as_uid_1000(
    run: Run, space: Space, image: Image, container: Container, contents: Contents
) -> None:
    """The Space also serves as uid 1000, as the Hub's documentation says that it runs.

    Severity: risk; advice without conventions

    On the Hub: nothing as far as it was observed; "PermissionError: [Errno 13] Permission denied" where the container runs as uid 1000, as documented

    Fix: RUN useradd --create-home --uid 1000 user, COPY --chown=1000:1000, then USER 1000 (in node images: USER node).

    Source: hub-docs spaces-sdks-docker.md says uid 1000; observed: an image without USER runs as
    root.
    """
    if uid_of(image, contents) == HUB.uid:
        return
    serves_with(run, space, image, [f"--user={HUB.uid}"], f"an answer as uid {HUB.uid}")


def serves_with(run: Run, space: Space, image: Image, options: list[str], expected: str) -> None:
    """Start the Space once more with these options of `docker run`; a violation where it does not serve."""
    start = start_unobserved(run, space, image, options=options)
    if start.container:
        start.container.remove()
    if start.failure:
        if start.log:
            material(Path(start.log))
        violated(expected=expected, actual=f"{start.failure.kind}: {start.failure.actual}")


def test_writes_only_home_and_tmp(
    run: Run, space: Space, image: Image, container: Container, contents: Contents
) -> None:
    """The Space works with a read-only disk but for its home and /tmp, without capabilities, and without a way to gain any.

    Severity: risk; advice without conventions

    On the Hub: PermissionError: [Errno 13] Permission denied, at the first write elsewhere

    Fix: Write below the home folder or /tmp; set cache folders there by ENV.

    Source: observed: the disk is writable; as uid 1000 only these folders are.
    """
    hardened = ["--read-only", "--tmpfs=/tmp:mode=1777", "--cap-drop=ALL"]
    hardened.append("--security-opt=no-new-privileges")
    home = home_of(image, contents)
    if home not in ("/", "/tmp"):
        # A volume without a name begins with what the image has at that path.
        hardened.append(f"--volume={home}")
    serves_with(
        run, space, image, hardened, f"an answer with {home} and /tmp as the only writable folders"
    )


def test_dials_open_ports_only(container: Container) -> None:
    """From its first packet on, the Space opens connections to ports that are known to be open: 80, 443 and 8080.

    Severity: risk

    On the Hub: a time-out, or [Errno 101] Network is unreachable: mail servers were reported out of reach; PostgreSQL on 5432 was reached

    Fix: Use the service's HTTPS endpoint or a proxy on port 443.

    Source: hub-docs spaces-overview.md: other ports than 80, 443 and 8080 are blocked; observed:
    5432 is open.
    """
    assert container.observer is not None
    require_none(
        Problem(
            f"connections to ports {', '.join(map(str, DOCUMENTED_PORTS))}",
            f"a connection to {dialled}: {found.known}",
            severity=found.severity,
        )
        for dialled in container.observer.connections()
        if (found := outbound(dialled.port))
    )
