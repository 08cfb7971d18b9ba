"""Why a Space does not serve: the cause, the Hub's message, the fix."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from preflight.engine.causes import (
    COMPOSE_SERVICE,
    NO_NETWORK,
    NO_NETWORK_AT_START,
    Cause,
    Stage,
    cause_in,
    indented,
    last_lines,
    plain,
    with_cause,
)
from preflight.engine.container import CannotRun, Container
from preflight.engine.observer import Listener
from preflight.model.hub_profile import HUB
from preflight.rules.missing import missing_in
from preflight.rules.reads import is_entered, needed, reads

LAUNCH_TIMED_OUT = "Launch timed out, workload was not healthy after {}"
TIMED_OUT = LAUNCH_TIMED_OUT.format("30 min")
CRASHED = 'Runtime error: "Exit code: 1. Reason:" and the last lines of the log'
SHOWN_LINES = 8
OUT_OF_MEMORY = "Memory limit exceeded (16Gi)"


class Kind(StrEnum):
    """The outcome of a start that does not serve."""

    EXITED = "exited"
    CRASH_LOOP = "crash loop"
    OUT_OF_MEMORY = "out of memory"
    LOOPBACK_ONLY = "loopback only"
    WRONG_PORT = "wrong port"
    NO_ANSWER = "no answer"
    NEVER_LISTENED = "never listened"


@dataclass(frozen=True)
class Diagnosis:
    """missing: the variables that the Space needs to start, by its log and its code.

    unjudged: why the Space may still start on the Hub; empty when the Space is at fault.
    """

    kind: Kind
    actual: str
    on_the_hub: str
    fix: str
    missing: tuple[str, ...] = ()
    unjudged: str = ""


def classify(container: Container, seconds: float, folder: Path | None = None) -> Diagnosis:
    """Why `container` does not serve after `seconds`.

    folder: the Space's folder; its code shows the variables that it needs.
    An ended container is started once more, to detect whether it ends each time.
    """
    state = container.state
    if state["OOMKilled"] or state["ExitCode"] == 137:
        limit = f"{HUB.memory / 1024**2:.0f} MiB"
        return Diagnosis(
            Kind.OUT_OF_MEMORY,
            f"it was killed at the memory limit of {limit}{_said(container)}",
            OUT_OF_MEMORY,
            "load less at once, start fewer workers, or choose larger hardware",
        )
    if state["Status"] != "running":
        found = _with_missing(_ended(container, int(state["ExitCode"])), container, folder)
    else:
        found = _running(container, seconds)
        if found.kind is Kind.CRASH_LOOP:
            found = _with_missing(found, container, folder)
    return found if found.missing else _without_network(found, container)


def not_started(error: CannotRun) -> Diagnosis:
    """The engine could not even run the image's command."""
    lines = str(error).splitlines()
    said = next((line for line in lines if "Error response" in line), lines[-1])
    said = said.rpartition("runc create failed: ")[2].strip()
    cause = cause_in(str(error), Stage.START)
    return Diagnosis(
        Kind.EXITED,
        f"the container's command cannot be run{_named(cause)}: {said}",
        CRASHED,
        (cause and cause.at_start) or "correct CMD or ENTRYPOINT",
    )


def lacking(container: Container, folder: Path) -> tuple[str, str] | None:
    """What a failed request of a running Space lacks here and may have on the Hub, by its log: the reason and the fix."""
    log = plain(container.logs())
    given = _given(container)
    missing = [name for name in missing_in(log, _known(folder)) if name not in given]
    if missing:
        names = ", ".join(missing)
        return (
            f"the log names {names} as missing",
            f"Give {names} a value: --env {missing[0]}=VALUE",
        )
    offline = NO_NETWORK_AT_START.found_in(log) and container.observer
    if offline and (names := ", ".join(offline.unresolved())):
        return f"this machine has no network to {names}", "Check it on a machine with a network."
    return None


def failed_request(container: Container) -> tuple[str, str | None]:
    """What the log tells of a request that got a status of 500 or more: words to append, and the fix of the cause."""
    cause = _cause(container)
    return f"{_named(cause)}{_said(container)}", cause.at_start if cause else None


def _given(container: Container) -> set[str]:
    return {
        setting.partition("=")[0] for setting in container.inspection["Config"].get("Env") or []
    }


def _known(folder: Path | None) -> list[str]:
    return [read.name for read in needed(folder)] if folder else []


def alarming_lines(log: str) -> list[str]:
    """Lines of a log that report a warning or an error, each kind once."""
    found: dict[str, str] = {}
    for line in plain(log).splitlines():
        if _ALARM.search(line):
            found.setdefault(re.sub(r"\d+", "0", line), line[:300])
    return list(found.values())


# Text logs; JSON logs with a level in words; pino's numeric levels (40 warn, 50 error, 60 fatal).
_ALARM = re.compile(
    r"\b(WARNING|WARN|ERROR|CRITICAL|FATAL|Traceback|[A-Z]\w+(Warning|Error):)"
    r'|"(level|levelname|severity)"\s*:\s*("(warn|warning|error|critical|fatal)"|[456]0\b)',
)


def _with_missing(found: Diagnosis, container: Container, folder: Path | None) -> Diagnosis:
    """`found`, with the names of missing variables when the log reports any."""
    given, known = _given(container), _known(folder)
    logged = [name for name in missing_in(plain(container.logs()), known) if name not in given]
    if not logged:
        return found
    also = [name for name in dict.fromkeys(known) if name not in given and name not in logged]
    missing = (*logged, *also)
    what = f"the log names {', '.join(logged)} as missing"
    if also:
        what += f"; the code needs {', '.join(also)} too"
    if maybe := [name for name in _read_without_default(folder) if name not in {*given, *missing}]:
        what += f"; it also reads {', '.join(maybe)}, without a default"
    return replace(
        found,
        actual=f"{what}: {found.actual}",
        fix=(
            f"give {', '.join(missing)} a value here: `--env {missing[0]}=VALUE`, `--env-file FILE`, or a line in "
            "the folder's .env; `preflight init DIR` drafts .env.example from the code. "
            "On the Hub: the Space's Settings, Variables and secrets"
        ),
        missing=missing,
    )


def _without_network(found: Diagnosis, container: Container) -> Diagnosis:
    """`found`, unjudged if the Space ends or waits for a network that this machine lacks."""
    log = plain(container.logs())
    # What ended it is in the last stack trace or the last lines. A server that never listens may print its retries
    # at any time.
    said = log
    if found.kind is not Kind.NEVER_LISTENED:
        _, trace, end = log.rpartition("Traceback (most recent call last)")
        said = end if trace else "\n".join(last_lines(log, 6))
    ends = found.kind in (Kind.EXITED, Kind.CRASH_LOOP, Kind.NEVER_LISTENED)
    if not ends or container.observer is None or not NO_NETWORK_AT_START.found_in(said):
        return found
    names = container.observer.unresolved()
    if not names:
        return found
    return replace(
        found,
        unjudged=f"this machine has no network to {', '.join(names)}, and without it the Space does not start: "
        f"{[line for line in said.splitlines() if NO_NETWORK_AT_START.found_in(line)][-1].strip()[:300]}",
    )


def _read_without_default(folder: Path | None) -> list[str]:
    """Variables to enter that the code reads, and that have no value anywhere in the folder."""
    found: dict[str, bool] = {}
    for read in reads(folder) if folder else ():
        if is_entered(read.name):
            found[read.name] = found.get(read.name, False) or read.default is not None
    return [name for name, has_default in found.items() if not has_default]


def _ended(container: Container, code: int) -> Diagnosis:
    cause, said = _cause(container), _said(container)
    said = f"{_named(cause)}{said}"
    fix = cause.at_start if cause else None
    if code == 0:
        return Diagnosis(
            Kind.EXITED,
            f"its command ended with exit code 0; no server is left{said}",
            CRASHED,
            fix or "let CMD start the server in the foreground",
        )
    container.start_again()
    again = container.wait_for_exit(min(HUB.start_deadline, 10))
    if again and again.code != 0:
        kind, what = Kind.CRASH_LOOP, f"it ended with exit code {code}, and again at a second start"
    else:
        kind, what = Kind.EXITED, f"it ended with exit code {code}, though not at a second start"
    return Diagnosis(
        kind, what + said, CRASHED, fix or "read the last lines above, then the full log"
    )


def _running(container: Container, seconds: float) -> Diagnosis:
    listening: list[Listener] = container.observer.listening() if container.observer else []
    port, said = container.port, _said(container)
    within = f"within {seconds:.0f} s"
    shown = ", ".join(map(str, listening))
    on_port = [listener for listener in listening if listener.port == port]
    crashes = _repeated_crashes(plain(container.logs()))
    if on_port and all(listener.loopback for listener in on_port):
        return Diagnosis(
            Kind.LOOPBACK_ONLY,
            f"it listens on {shown} alone, which nothing outside the container reaches{said}",
            TIMED_OUT,
            f"listen on 0.0.0.0:{port}",
        )
    cause = _cause(container)
    if crashes:
        return Diagnosis(
            Kind.CRASH_LOOP,
            f"a process inside it ends and is started again, over and over: {crashes}{_named(cause)}{said}",
            TIMED_OUT,
            (cause and cause.at_start) or "read the lines above, then the full log",
        )
    if on_port:
        return Diagnosis(
            Kind.NO_ANSWER,
            f"it accepts connections on port {port} and answers none of them in HTTP {within}{said}",
            TIMED_OUT,
            "answer HTTP, not HTTPS, before models load and dependencies are reached; load in the background",
        )
    if container.observer is None:
        return Diagnosis(
            Kind.NO_ANSWER,
            f"it runs, and answers nothing on port {port} {within}{said}",
            TIMED_OUT,
            f"listen on 0.0.0.0:{port} first, load models and reach dependencies afterwards",
        )
    if listening:
        ports = sorted({listener.port for listener in listening})
        named = f"{ports[0]}" if len(ports) == 1 else "the port that it listens on"
        return Diagnosis(
            Kind.WRONG_PORT,
            f"it listens on {shown}, and on port {port} not {within}{said}",
            TIMED_OUT,
            f"listen on {port}, or write `app_port: {named}` in the front matter of README.md",
        )
    return Diagnosis(
        Kind.NEVER_LISTENED,
        f"it runs, and listens on no port {within}{_named(cause)}{said}",
        TIMED_OUT,
        f"answer HTTP on port {port} at once, and load models and reach dependencies afterwards; a bot "
        "or worker needs a small HTTP server beside it; if the start takes longer, set "
        "`startup_duration_timeout` in README.md and --hub start_deadline=SECONDS here",
    )


def _repeated_crashes(log: str) -> str | None:
    """A line that reports a process's end, if the log has it at least three times."""
    pattern = re.compile(
        r"Traceback \(most|\bdied\b|crash|exit(ed|ing)?\b.*\b(code|status|pid)|Uncaught", re.I
    )
    kinds = Counter(
        re.sub(r"\d+", "0", line.strip()) for line in log.splitlines() if pattern.search(line)
    )
    line, count = max(kinds.items(), key=lambda item: item[1], default=("", 0))
    return f"{line[:200]!r}, {count} times" if count >= 3 else None


def _named(cause: Cause | None) -> str:
    return f"; cause: {cause.what}" if cause else ""


def _cause(container: Container) -> Cause | None:
    found = cause_in("\n".join(plain(container.logs()).splitlines()[-40:]), Stage.START)
    if found not in (NO_NETWORK, NO_NETWORK_AT_START) or container.observer is None:
        return found
    # Many clients do not say which name has no address.
    if not (names := container.observer.services()):
        return found
    what = f"no host is named {' or '.join(names)}, as a service of a compose.yaml is"
    return replace(found, what=what, at_start=COMPOSE_SERVICE.at_start)


_FRAME = re.compile(r'\s*File "(?P<path>[^"]+)", line \d+')
_NODE_FRAME = re.compile(r"\s+at .*\bnode:internal/")
_LIBRARY = re.compile(r"<frozen |/(site|dist)-packages/|/lib/python3|^/usr/(local/)?bin/|venv/bin/")


def _without_library_frames(log: str) -> Iterator[str]:
    """The lines of a log, without a stack trace's frames in libraries and its marks below the code."""
    skips = False
    for line in log.splitlines():
        if frame := _FRAME.match(line):
            skips = _LIBRARY.search(frame["path"]) is not None
        elif not line.startswith("    "):
            skips = False
        if not skips and not _NODE_FRAME.match(line) and line.strip("~^ "):
            yield line


def _said(container: Container) -> str:
    # The frames before the last stack trace belong to earlier starts or causes.
    whole = plain(container.logs())
    last = whole.rpartition("Traceback (most recent call last):\n")[2]
    own = last_lines("\n".join(_without_library_frames(last)), SHOWN_LINES)
    lines = with_cause(own, last_lines(whole, 40), SHOWN_LINES, _cause(container))
    return f"; its last lines:\n{indented(lines)}" if lines else "; it printed nothing"
