"""A Space started as the Hub would start it, once for a whole run, or known by its URL alone."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

from preflight.engine import diagnosis
from preflight.engine.container import Answering, Container, NotServing, start
from preflight.engine.diagnosis import Diagnosis
from preflight.engine.docker import DockerError, docker
from preflight.engine.edge import Named
from preflight.engine.image import Image
from preflight.engine.observer import Observer
from preflight.engine.run import Run
from preflight.model.frontmatter import FrontMatterError
from preflight.model.hub_profile import HUB
from preflight.model.space import Space


@dataclass(frozen=True)
class Start:
    """How a start went: who answers, with the seconds to the first answer, or why nobody does.

    log: the full log, kept, when it does not serve. alarms: lines of a clean start's log that tell
    of a warning or an error. log_bytes: how much it had printed by then. timeline: its steps, each
    with `name`, `start` and `end` in seconds. memory: resident bytes right after the first answer.
    """

    subject: Answering | None
    seconds: float
    failure: Diagnosis | None = None
    log: str = ""
    alarms: Sequence[str] = ()
    log_bytes: int = 0
    timeline: Sequence[dict[str, Any]] = ()
    memory: int = 0

    @property
    def container(self) -> Container | None:
        return self.subject if isinstance(self.subject, Container) else None


def environment_of(space: Space, declared: Mapping[str, str] | None = None) -> dict[str, str]:
    """What the Hub injects, and `declared`: by default a value for every variable that is needed.

    Raises EnvironmentDeclarationError when its declaration can't be read.
    """
    if declared is None:
        declared = space.declaration.valid_environment() if space.declaration else {}
    try:
        title = str(space.front_matter.get("title", space.name))
    except FrontMatterError:
        title = space.name
    return {**HUB.environment(space.name, title), **declared}


def start_observed(
    run: Run,
    space: Space,
    image: Image,
    environment: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
    silent: bool = False,
) -> Start:
    """Start a Space with its network watched, and wait until it serves or its fate is clear.

    environment: instead of `environment_of(space)`. options: further options of `docker run`.
    silent: a dependency at loopback port 9 accepts connections and never answers.
    The caller removes the container. Raises DockerError when the engine fails.
    """
    observer = Observer.start(run, space.app_port, silent)
    begun = start_unobserved(run, space, image, environment, options, observer)
    if begun.container is None:
        observer.remove()
    return begun


def start_unobserved(
    run: Run,
    space: Space,
    image: Image,
    environment: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
    observer: Observer | None = None,
) -> Start:
    """`start_observed` for a third less: nobody tells then where it dials and listens.

    observer: one that is there already, and has the network.
    """
    began = time.monotonic()
    given = environment_of(space) if environment is None else environment
    try:
        container = start(run, image, space.name, given, space.app_port, options, observer)
    except DockerError as error:
        # Exit codes of `docker run`: 126 the command can't be run, 127 it is not found.
        if "exit code 126" in str(error) or "exit code 127" in str(error):
            return Start(None, time.monotonic() - began, diagnosis.not_started(str(error)))
        raise
    seconds, failure = _wait(container)
    log = container.logs()
    if failure:
        kept = container.save(run.folder)
        return Start(container, seconds, failure, log=str(kept))
    return Start(
        container,
        seconds,
        alarms=diagnosis.alarming_lines(log)[:10],
        log_bytes=len(log),
        timeline=timeline(container, seconds),
        memory=container.resident_memory(),
    )


def timeline(container: Container, first_answer: float) -> list[dict[str, Any]]:
    """The steps of a start, in seconds from the creation of its container on.

    first_answer: seconds from its start until it answered, seen from outside.
    """
    inspection = container.inspection
    created = _time(inspection["Created"])
    started = _time(inspection["State"]["StartedAt"]) - created
    ends = [("the engine makes and starts the container", started)]
    stamp = docker("logs", "--timestamps", container.id, check=False).stdout.partition(" ")[0]
    if stamp:
        ends.append(("until its first line in the log", _time(stamp) - created))
    ends.append(("until its first answer", started + first_answer))
    steps, at = [], 0.0
    for name, end in sorted(ends, key=lambda one: one[1]):
        steps.append({"name": name, "start": at, "end": end})
        at = end
    return steps


def _time(stamp: str) -> float:
    """Seconds since 1970 of the engine's own time stamps, which have nanoseconds."""
    return datetime.fromisoformat(stamp[:26].rstrip("Z") + "+00:00").timestamp()


def start_once(run: Run, space: Space, image: Image) -> Start:
    """`start_observed`, by the first xdist worker that asks; the run removes it at its end."""

    def make() -> dict[str, Any]:
        begun = start_observed(run, space, image)
        served = begun.container if begun.failure is None else None
        if begun.container and begun.failure:
            begun.container.remove()
        return {
            "container": served and served.id,
            "observer": served and served.observer and served.observer.id,
            "seconds": begun.seconds,
            "failure": begun.failure and asdict(begun.failure),
            "log": begun.log,
            "alarms": begun.alarms,
            "log_bytes": begun.log_bytes,
            "timeline": begun.timeline,
            "memory": begun.memory,
        }

    known = run.once(f"subject-{space.name}", make)
    container = None
    if known["container"]:
        observer = Observer(known["observer"])
        container = Container(space.name, known["container"], space.app_port, observer)
    failure = Diagnosis(**known["failure"]) if known["failure"] else None
    rest = ("log", "alarms", "log_bytes", "timeline", "memory")
    return Start(container, known["seconds"], failure, **{name: known[name] for name in rest})


class Live(Answering):
    """A Space that runs on the Hub, or anywhere: asked by its URL alone."""

    def __init__(self, name: str, url: str) -> None:
        super().__init__(name)
        self.url = url
        self.http.trust_env = True
        parts = urlsplit(url)
        self.host = host = parts.hostname or ""
        if host.endswith(".localhost") and parts.scheme == "https":
            # Such names are this machine's (RFC 6761), but not every resolver knows; the rehearsed
            # edge signs its certificates itself, and what goes to loopback is read by nobody else.
            self.url = f"https://127.0.0.1:{parts.port or 443}"
            self.http.headers["Host"] = parts.netloc
            self.http.mount("https://", Named(host))
            self.http.trust_env = self.http.verify = False
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        token = os.environ.get("HF_TOKEN")
        if token and host.endswith((".hf.space", ".hf.localhost")) and parts.scheme == "https":
            # The edge reads this header and removes it; `Authorization` would reach the app.
            # Source: hf-mcp-server pull request 249.
            self.http.headers["X-HF-Authorization"] = f"Bearer {token}"


def wake(live: Live) -> Start:
    """Ask until the answer's status is below 500: a sleeping Space is woken by a request."""
    began, last_seen = time.monotonic(), "nothing"
    while (seconds := time.monotonic() - began) < HUB.wake_deadline:
        try:
            answer = live.get(HUB.readiness_path, timeout=30)
            if answer.status_code < 500:
                return Start(live, time.monotonic() - began)
            last_seen = f"status {answer.status_code}: {answer.text[:200]}"
        except requests.RequestException as error:
            last_seen = type(error).__name__
        # A visitor who waits; more often would be a load test.
        time.sleep(2)
    actual = f"{live.url} does not answer within {HUB.wake_deadline:g} s; last seen: {last_seen}"
    fix = "look at the Space's run log on the Hub: `hf spaces logs OWNER/NAME`"
    return Start(live, seconds, Diagnosis("no answer", actual, diagnosis.TIMED_OUT, fix))


def _wait(container: Container) -> tuple[float, Diagnosis | None]:
    """Seconds to the first answer, and what is wrong when there is none or the server then ended."""
    patience = 2.0
    while True:
        deadline = min(patience, HUB.start_deadline)
        try:
            seconds = container.wait_until_serving(deadline=deadline)
            break
        except NotServing:
            ended = container.state["Status"] != "running"
            if ended or deadline == HUB.start_deadline or diagnosis.loopback_only(container):
                return deadline, diagnosis.classify(container)
            patience *= 2
    if container.wait_for_exit(HUB.settle) is not None:
        return seconds, diagnosis.classify(container)
    return seconds, None
