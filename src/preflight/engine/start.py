"""A Space started as the Hub would start it, and the outcome of the start."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from preflight.engine import diagnosis
from preflight.engine.answering import Answering, NoAnswer
from preflight.engine.container import CannotRun, Container, NotServing, SpaceContainer
from preflight.engine.diagnosis import Diagnosis
from preflight.engine.docker import DockerError, docker
from preflight.engine.fate import Fate
from preflight.engine.image import Image
from preflight.engine.observer import Observer
from preflight.engine.run import Run
from preflight.model.frontmatter import FrontMatterError
from preflight.model.hub_profile import HUB
from preflight.model.space import Space

MARKER = ("PREFLIGHT_MARKER", "preflight-marker-7c1f0e5ab2d94")
"""A variable that no program reads: its value in a log shows that the whole environment was printed."""


@dataclass(frozen=True)
class Start:
    """The outcome of a start: the Space with the seconds to its first answer, or why it does not answer.

    log: the full log, kept, when it does not serve. alarms: lines of a clean start's log that report
    a warning or an error. log_bytes: the bytes of the log by then. timeline: its steps, each
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
    """The Hub's variables, and `declared`: by default a value for every variable that is needed.

    Raises EnvironmentDeclarationError when its declaration can't be read.
    """
    if declared is None:
        declared = space.environment
    try:
        title = str(space.front_matter.get("title", space.name))
    except FrontMatterError:
        title = space.name
    return {**HUB.environment(space.name, title), **dict([MARKER]), **declared}


def start(
    run: Run,
    space: Space,
    image: Image,
    environment: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
    observed: bool = True,
    silent: bool = False,
    deadline: float | None = None,
) -> Start:
    """Start a Space, and wait until it serves or can't serve any more. The caller removes the container.

    environment: instead of `environment_of(space)`. options: further options of `docker run`.
    observed: its network is watched, which takes half as long again; without, where it connects to and
    listens is not seen. silent: a dependency at loopback port 9 accepts connections and never answers.
    deadline: instead of the Hub's start deadline.
    Raises DockerError when the engine fails.
    """
    began = time.monotonic()
    given = environment_of(space) if environment is None else environment
    observer = Observer.start(run, space.app_port, silent) if observed else None
    try:
        container = SpaceContainer.start(
            run, image, space.name, given, space.app_port, options, observer
        )
    except DockerError as error:
        if observer:
            observer.remove()
        if isinstance(error, CannotRun):
            return Start(None, time.monotonic() - began, diagnosis.not_started(error))
        raise
    seconds, failure = _outcome(container, space, deadline)
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


def _outcome(
    container: SpaceContainer, space: Space, deadline: float | None
) -> tuple[float, Diagnosis | None]:
    """Seconds to the first answer, and the fault when it does not come or the server then ended."""
    began = time.monotonic()
    try:
        seconds = first_answer(container, HUB.start_deadline if deadline is None else deadline)
    except NotServing:
        waited = time.monotonic() - began
        return waited, diagnosis.classify(container, waited, space.source)
    # Everything else waits for this, and the checks detect a server that ends later.
    if container.wait_for_exit(HUB.settle, most=2) is not None:
        return seconds, diagnosis.classify(container, seconds, space.source)
    return seconds, None


def first_answer(
    container: Container, deadline: float, watch: Callable[[], None] = lambda: None
) -> float:
    """Seconds to the first answer of a start, which gets longer than `deadline` while it is at work.

    watch: called meanwhile; what it raises ends the wait. Raises NotServing.
    """
    fate = Fate(container)

    def look(failure: NoAnswer | None) -> str:
        watch()
        return fate(failure)

    def look_longer(failure: NoAnswer | None) -> str:
        watch()
        return fate.until_idle(failure)

    try:
        return container.wait_until_serving(deadline=deadline, watch=look)
    except NotServing:
        if container.state["Status"] != "running" or not fate.works():
            raise
    longer = deadline * HUB.patience
    return container.wait_until_serving(deadline=longer, watch=look_longer, most=1)


def timeline(container: Container, first_answer: float) -> list[dict[str, Any]]:
    """The steps of a start, in seconds from the creation of its container on.

    first_answer: seconds from its start to its first answer, measured from outside.
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
    for name, end in sorted(ends, key=lambda item: item[1]):
        steps.append({"name": name, "start": at, "end": end})
        at = end
    return steps


def _time(stamp: str) -> float:
    """Seconds since 1970 of an engine's time stamp, which has nanoseconds."""
    return datetime.fromisoformat(stamp[:26].rstrip("Z") + "+00:00").timestamp()
