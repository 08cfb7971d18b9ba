"""Why a Space does not serve: what happened, what the Hub would show, what to change."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from preflight.engine.container import Container
from preflight.engine.observer import Listener
from preflight.model.hub_profile import HUB

LAUNCH_TIMED_OUT = "Launch timed out, workload was not healthy after {}"
TIMED_OUT = LAUNCH_TIMED_OUT.format("30 min")
CRASHED = "Runtime error (stage RUNTIME_ERROR)"
OUT_OF_MEMORY = "Memory limit exceeded (16Gi)"

# (pattern in the log, what to change), most telling first.
CAUSES = [
    (r"exec format error", "build for linux/amd64; the image or its program is for another platform"),
    (r"exec /\S+: no such file or directory",
     "check the script's first line: CRLF line ends, or an interpreter that the image lacks"),
    (r"executable file not found|: command not found|: not found$",
     "install the program in the image, or correct its name in CMD or ENTRYPOINT"),
    (r"Errno 13|EACCES|Permission denied|permission denied",
     "the container runs as uid 1000: COPY --chown=1000:1000, and write below the home folder or /tmp"),
    (r"Errno 30|EROFS|Read-only file system", "write below the home folder or /tmp only"),
    (r"ModuleNotFoundError|ImportError|Cannot find (module|package)|ERR_MODULE_NOT_FOUND",
     "install the module in the image: add it to the requirements, lock again, commit"),
    (r"address already in use|EADDRINUSE|Errno 98", "start one server on the port, not two"),
    (r"KeyError: '([A-Z][A-Z0-9_]+)'|\b([A-Z][A-Z0-9_]{3,})\b.{0,40}\b(missing|required|not set|must be set)",
     "enter the variable that the log names in the Space's settings, as a Variable or Secret"),
]  # fmt: skip


@dataclass(frozen=True)
class Diagnosis:
    """kind: exited, crash loop, out of memory, loopback only, wrong port, no answer or never listened."""

    kind: str
    actual: str
    on_the_hub: str
    fix: str


def classify(container: Container) -> Diagnosis:
    """Why `container`, which does not serve, does not. An ended one is started once more, to see
    whether it ends each time."""
    state = container.state
    if state["OOMKilled"] or state["ExitCode"] == 137:
        limit = f"{HUB.memory / 1024**2:.0f} MiB"
        return Diagnosis(
            "out of memory",
            f"it was killed at the memory limit of {limit}{_said(container)}",
            OUT_OF_MEMORY,
            "load less at once, start fewer workers, or choose larger hardware",
        )
    if state["Status"] != "running":
        return _ended(container, int(state["ExitCode"]))
    return _running(container)


def loopback_only(container: Container) -> bool:
    """Whether the app port is bound, to loopback alone: waiting longer changes nothing."""
    on_port = [one for one in _listening(container) if one.port == container.port]
    return bool(on_port) and all(one.loopback for one in on_port)


def not_started(error: str) -> Diagnosis:
    """The engine could not even run the command: `error` is its message."""
    said = next((line for line in error.splitlines() if "Error response" in line), error)
    said = said.rpartition("runc create failed: ")[2].strip()
    return Diagnosis(
        "exited",
        f"the container's command cannot be run: {said}",
        CRASHED,
        _cause(error) or "correct CMD or ENTRYPOINT",
    )


def alarming_lines(log: str) -> list[str]:
    """Lines of a log that tell of a warning or an error, each kind once."""
    found: dict[str, str] = {}
    for line in log.splitlines():
        if _ALARM.search(line):
            found.setdefault(re.sub(r"\d+", "0", line), line[:300])
    return list(found.values())


# Text logs; JSON logs with a level in words; pino's numeric levels (40 warn, 50 error, 60 fatal).
_ALARM = re.compile(
    r"\b(WARNING|WARN|ERROR|CRITICAL|FATAL|Traceback|[A-Z]\w+(Warning|Error):)"
    r'|"(level|levelname|severity)"\s*:\s*("(warn|warning|error|critical|fatal)"|[456]0\b)',
)


def _ended(container: Container, code: int) -> Diagnosis:
    said = _said(container)
    fix = _cause(container.logs())
    if code == 0:
        return Diagnosis(
            "exited",
            f"its command came to its end with exit code 0; no server is left{said}",
            CRASHED,
            fix or "let CMD start the server in the foreground",
        )
    container.start_again()
    again = container.wait_for_exit(min(HUB.start_deadline, 10))
    if again and again.code != 0:
        kind, what = "crash loop", f"it ended with exit code {code}, and again at a second start"
    else:
        kind, what = "exited", f"it ended with exit code {code}, though not at a second start"
    return Diagnosis(
        kind, what + said, CRASHED, fix or "read the last lines above, then the full log"
    )


def _running(container: Container) -> Diagnosis:
    listening = _listening(container)
    port, said = container.port, _said(container)
    within = f"within {HUB.start_deadline:g} s"
    shown = ", ".join(map(str, listening))
    on_port = [one for one in listening if one.port == port]
    crashes = _repeated_crashes(container.logs())
    if on_port and all(one.loopback for one in on_port):
        return Diagnosis(
            "loopback only",
            f"it listens on {shown} alone, which nothing outside the container reaches{said}",
            TIMED_OUT,
            f"listen on 0.0.0.0:{port}",
        )
    if crashes:
        return Diagnosis(
            "crash loop",
            f"a process inside it ends and is started again, over and over: {crashes}{said}",
            TIMED_OUT,
            _cause(container.logs()) or "read the lines above, then the full log",
        )
    if on_port:
        return Diagnosis(
            "no answer",
            f"it accepts connections on port {port} and answers none of them {within}{said}",
            TIMED_OUT,
            "answer HTTP before models load and dependencies are reached; load in the background",
        )
    if container.observer is None:
        return Diagnosis(
            "no answer",
            f"it runs, and answers nothing on port {port} {within}{said}",
            TIMED_OUT,
            f"listen on 0.0.0.0:{port} first, load models and reach dependencies afterwards",
        )
    if listening:
        return Diagnosis(
            "wrong port",
            f"it listens on {shown}, and on port {port} not {within}{said}",
            TIMED_OUT,
            f"listen on {port}, or set `app_port` in README.md to the port that it listens on",
        )
    return Diagnosis(
        "never listened",
        f"it runs, and listens on no port {within}{said}",
        TIMED_OUT,
        "listen first, load models and reach dependencies afterwards; if it needs longer on the "
        "Hub, set `startup_duration_timeout` there and --hub start_deadline=SECONDS here",
    )


def _listening(container: Container) -> list[Listener]:
    return container.observer.listening() if container.observer else []


def _repeated_crashes(log: str) -> str | None:
    """A line that tells of a process's end, if it stands in the log three times or more."""
    pattern = re.compile(
        r"Traceback \(most|\bdied\b|crash|exit(ed|ing)?\b.*\b(code|status|pid)|Uncaught", re.I
    )
    kinds = Counter(
        re.sub(r"\d+", "0", line.strip()) for line in log.splitlines() if pattern.search(line)
    )
    line, count = max(kinds.items(), key=lambda item: item[1], default=("", 0))
    return f"{line[:200]!r}, {count} times" if count >= 3 else None


def _cause(log: str) -> str | None:
    tail = "\n".join(log.splitlines()[-40:])
    return next((fix for pattern, fix in CAUSES if re.search(pattern, tail, re.M)), None)


def _said(container: Container) -> str:
    lines = [line for line in container.logs().splitlines() if line.strip()][-8:]
    if not lines:
        return "; it printed nothing"
    return "; its last lines:\n" + "\n".join(f"    {line[:300]}" for line in lines)
