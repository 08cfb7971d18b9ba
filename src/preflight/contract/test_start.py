"""The start: the Space answers on the port that the Hub probes, within the Hub's limits, and keeps running."""

from __future__ import annotations

from pathlib import Path

import pytest

from preflight.contract.findings import advise, material, require_none, show, violated
from preflight.engine.answering import Answering, NoAnswer
from preflight.engine.container import Container
from preflight.engine.diagnosis import failed_request
from preflight.engine.image import Image
from preflight.engine.layers import Contents, home_of
from preflight.engine.proxied import Refused
from preflight.engine.rehearsal import Rehearsal
from preflight.engine.start import Start
from preflight.model.hub_profile import DOCUMENTED_PORTS, HUB, outbound
from preflight.model.problems import CannotJudge, Problem

# People read the log of a start; more than this hides the line that matters.
LOG_BUDGET = 1024 * 1024


def test_serves(started: Start) -> None:
    """The Space answers HTTP on `app_port`, on all interfaces, within the start deadline, with 2 CPUs and empty caches, and keeps running.

    Severity: breaks

    On the Hub: Launch timed out, workload was not healthy after 30 min; or "Runtime error"

    Fix: Listen on 0.0.0.0 and `app_port` first. Then load models and connect to dependencies.

    Source: observed: both texts are on the pages of Spaces.
    """
    if started.failure:
        if started.log:
            material(Path(started.log))
        if started.failure.unjudged:
            raise CannotJudge(started.failure.unjudged)
        violated(
            expected=f"an HTTP answer within {HUB.start_deadline:g} s, and a process that keeps running",
            actual=f"{started.failure.kind}: {started.failure.actual}",
            fix=started.failure.fix,
            on_the_hub=started.failure.on_the_hub,
        )
    if started.seconds > HUB.start_deadline:
        advise(
            f"an HTTP answer within {HUB.start_deadline:g} s",
            f"the first answer came after {started.seconds:.0f} s; the Hub waits 30 minutes, and each visitor who "
            "wakes the Space waits as long",
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


def test_front_page_answers(
    started: Start, subject: Answering, front_page: str, refused: list[Refused], host_refusal: str
) -> None:
    """GET of the page that the Hub shows (`base_path`, or /) gets a status below 400.

    Severity: risk

    On the Hub: the Space is "Running", but its page shows "Not Found" or an error

    Fix: Answer GET / with a page or a short JSON, or set `base_path` in README.md to a path that answers.

    Source: observed: Spaces whose / answers 404 count as running.
    """
    if host_refusal or any(pair.path == front_page for pair in refused):
        pytest.skip("not checked: the public name is refused, see edge.answers_the_public_name")
    status = subject.get(front_page, headers={"Accept": "text/html"}).status_code
    if status in (401, 403):
        advise(
            f"a status below 400 for GET {front_page}",
            f"{status}; visitors of the Space's page see nothing else",
        )
    elif status >= 400:
        container = started.container if status >= 500 else None
        logged, fix = failed_request(container) if container else ("", None)
        violated(
            expected=f"a status below 400 for GET {front_page}", actual=f"{status}{logged}", fix=fix
        )


def test_front_page_answers_head(subject: Answering, front_page: str) -> None:
    """HEAD of the page that the Hub shows gets a status below 400, as GET does.

    Severity: risk; advice without conventions

    On the Hub: the Space stays "Starting" though its log shows `HEAD / 405` (forum thread 174616; disputed)

    Fix: Answer HEAD wherever you answer GET. FastAPI routes need `methods=["GET", "HEAD"]`.

    Source: forum thread 174616, disputed.
    """
    if subject.get(front_page).status_code >= 400:
        pytest.skip("not checked: GET fails too, see start.front_page_answers")
    try:
        status = subject.head(front_page).status_code
        actual = "" if status < 400 else f"{status}"
    except NoAnswer as error:
        actual = error.reason
    if actual:
        violated(
            expected=f"a status below 400 for HEAD {front_page}",
            actual=actual,
        )


def test_starts_without_alarms(started: Start, container: Container) -> None:
    """A clean start prints no warnings or errors, and at most 1 MiB.

    Severity: advice

    On the Hub: the line that explains a failure is lost among lines that every start prints

    Fix: Fix the cause of the warning, or log it at a lower level.

    Source: ours: the Hub does not read logs.
    """
    for line in started.alarms:
        advise("a clean start without a warning", line)
    if started.log_bytes > LOG_BUDGET:
        advise(
            f"at most {LOG_BUDGET / 1024**2:g} MiB printed at a clean start",
            f"{started.log_bytes / 1024**2:.1f} MiB",
        )


def test_answers_in_http(direct: Answering) -> None:
    """Each request gets one complete HTTP answer: a status, valid headers, and a body of the declared length.

    Severity: risk

    On the Hub: "502 Bad Gateway", or a page that never finishes loading, for the requests that are named

    Fix: Let the framework set Content-Length and Transfer-Encoding. Catch errors in handlers, and answer 500 instead of closing the connection.

    Source: RFC 9112, 6; a proxy answers 502 if it can't read the answer.
    """
    requests = [
        ("GET", "/"),
        ("GET", "/health"),
        ("GET", "/no-such-page"),
        ("GET", "/openapi.json"),
    ]
    if not direct.safe_only:
        requests += [("DELETE", "/"), ("POST", "/")]
    found = []
    for method, path in requests:
        try:
            direct.request(method, path)
        except NoAnswer as error:
            found.append(Problem(f"an HTTP answer to {method} {path}", error.reason))
    require_none(found)


@pytest.mark.usefixtures("container")
def test_serves_as_uid_1000(image: Image, contents: Contents, as_uid_1000: Start) -> None:
    """The Space also serves as uid 1000, which the Hub's documentation names.

    Severity: risk; advice without conventions

    On the Hub: no effect was observed; if the container runs as uid 1000, as documented: "PermissionError: [Errno 13] Permission denied"

    Fix: RUN useradd --create-home --uid 1000 user, COPY --chown=1000:1000, then USER 1000 (in node images: USER node).

    Source: hub-docs spaces-sdks-docker.md says uid 1000; observed: an image without USER runs as
    root.
    """
    require_serving(as_uid_1000, f"an answer as uid {HUB.uid}")


@pytest.fixture(scope="session")
def as_uid_1000(image: Image, rehearsal: Rehearsal) -> Start:
    """A start as uid 1000; the start that all checks share, if that is the image's user."""
    return _further(rehearsal.as_uid_1000())


@pytest.fixture(scope="session")
def hardened(image: Image, rehearsal: Rehearsal) -> Start:
    """A start without capabilities, and with a read-only disk except for home and /tmp."""
    return _further(rehearsal.hardened())


def _further(attempt: Start | None) -> Start:
    if attempt is None:
        pytest.skip("not checked: the Space does not start, see start.serves")
    return attempt


def require_serving(start: Start, expected: str) -> None:
    """Raise a Violation if this further start of the Space does not serve."""
    if start.failure:
        if start.log:
            material(Path(start.log))
        violated(expected=expected, actual=f"{start.failure.kind}: {start.failure.actual}")


@pytest.mark.usefixtures("container")
def test_writes_only_home_and_tmp(image: Image, hardened: Start, contents: Contents) -> None:
    """The Space works without capabilities or a way to gain any, and with a read-only disk except for its home and /tmp.

    Severity: risk; advice without conventions

    On the Hub: PermissionError: [Errno 13] Permission denied, at the first write to another folder

    Fix: Write below the home folder or /tmp. Set cache folders there with ENV.

    Source: observed: the disk is writable; for uid 1000, only these folders are.
    """
    home = home_of(image, contents)
    require_serving(hardened, f"an answer with {home} and /tmp as the only writable folders")


def test_connects_to_open_ports_only(container: Container) -> None:
    """From its first packet on, the Space connects only to ports that are known to be open: 80, 443 and 8080.

    Severity: risk

    On the Hub: a time-out or [Errno 101] Network is unreachable; users could not reach mail servers, but could reach PostgreSQL on 5432

    Fix: Use the service's HTTPS endpoint or a proxy on port 443.

    Source: hub-docs spaces-overview.md: all ports except 80, 443 and 8080 are blocked; observed:
    5432 is open.
    """
    assert container.observer is not None
    require_none(
        Problem(
            f"connections to ports {', '.join(map(str, DOCUMENTED_PORTS))}",
            f"a connection to {connection}: {found.known}",
            severity=found.severity,
        )
        for connection in container.observer.connections()
        if (found := outbound(connection.port))
    )
