"""A container of a Space, run as the Hub runs it and probed from outside."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from preflight.engine import install as engine
from preflight.engine.answering import Answering, NoAnswer
from preflight.engine.docker import DockerError, DockerTimeout, docker
from preflight.engine.image import Image
from preflight.engine.observer import Observer
from preflight.engine.run import Run
from preflight.engine.waiting import NotYet, Overdue, wait_until
from preflight.model.hub_profile import HUB


class NotServing(Exception):
    """A container did not answer in time, or ended; the message says what was last seen, with its log."""


@dataclass(frozen=True)
class Exit:
    """How a container ended."""

    code: int
    seconds: float
    output: str


class Container(Answering):
    """A running or ended container. Requests go to its published port, from outside.

    A probe from inside the container would also reach a server that listens on loopback only.
    observer: the container that owns its network, when there is one.
    """

    def __init__(
        self, name: str, container_id: str, port: int, observer: Observer | None = None
    ) -> None:
        super().__init__(name)
        self.id = container_id
        self.port = port
        self.observer = observer
        self._started = time.monotonic()

    @property
    def inspection(self) -> dict[str, Any]:
        """The present output of `docker inspect`."""
        found: list[dict[str, Any]] = json.loads(docker("inspect", self.id).stdout)
        return found[0]

    @property
    def state(self) -> dict[str, Any]:
        """The present Status, ExitCode, OOMKilled …"""
        state: dict[str, Any] = self.inspection["State"]
        return state

    @cached_property
    def url(self) -> str:  # type: ignore[override]
        """The base URL on this machine. The engine chose the port: `forget_port` after a restart."""
        owner = self.observer.id if self.observer else self.id
        published = docker("port", owner, f"{self.port}/tcp", check=False).stdout.split()
        if not published:
            raise NotServing(self.describe("has no published port"))
        return f"http://{engine.host()}:{published[0].rpartition(':')[2]}"

    def resident_memory(self) -> int:
        """Resident bytes of its processes now; shared memory counts for each process."""
        listed = docker("top", self.id, "-eo", "pid,rss", check=False).stdout.split()
        return sum(int(kibibytes) for kibibytes in listed[3::2]) * 1024

    def forget_port(self) -> None:
        """Read the published port again: a restarted container gets another port."""
        self.__dict__.pop("url", None)

    def wait_until_serving(
        self,
        path: str | None = None,
        deadline: float | None = None,
        status: int | None = None,
        watch: Callable[[NoAnswer | None], str] = lambda error: "",
        most: float = 10,
    ) -> float:
        """Seconds from start to the first HTTP answer at `path` (with `status`, when given).

        watch: called a few times a second with the last request's failure. Its result is the progress
        shown; it raises NotServing when further waiting changes nothing. most: the largest factor by which a
        busy machine stretches the deadline.
        Raises NotServing when the deadline passes, and at once when the container has ended.
        """
        path = HUB.readiness_path if path is None else path
        own = HUB.start_deadline if deadline is None else deadline
        allowed = stretched(own, most)
        longer = f", for {allowed:.0f} s instead of {own:g}: this machine is busy"
        checked, seen = 0.0, ""

        def look() -> float:
            nonlocal checked, seen
            now = time.monotonic() - self._started
            failure = None
            try:
                # The status line is enough: a page may never end.
                with self.get(path, timeout=2, stream=True) as answer:
                    if status is None or answer.status_code == status:
                        return time.monotonic() - self._started
                last_seen = f"GET {path} answers {answer.status_code}"
            except NoAnswer as error:
                failure, last_seen = error, str(error)
            # An engine command costs more than a request to the server.
            if now - checked > max(0.25, min(now / 4, 1)):
                checked = now
                if self.state["Status"] != "running":
                    raise NotServing(self.describe("ended instead of serving"))
                seen = watch(failure)
            # Connection errors vary from request to request; only the listening ports are shown.
            raise NotYet(seen or last_seen, seen)

        try:
            return wait_until(
                f"{self.name}: starting: waits for port {self.port}"
                + (longer if allowed > 1.5 * own else ""),
                max(0.0, allowed - (time.monotonic() - self._started)),
                look,
                # Precise to 5 %; each request takes time from the starting server.
                lambda _: min(max(0.02, (time.monotonic() - self._started) / 20), 0.5),
            )
        except Overdue as overdue:
            raise NotServing(
                self.describe(
                    f"does not answer GET {path} after {allowed:g} s (last seen: {overdue.seen})"
                )
            ) from None

    def wait_for_exit(self, deadline: float, most: float = 10) -> Exit | None:
        """How the container ended, or None when it still runs after `deadline` seconds.

        most: the largest factor by which a busy machine stretches the deadline.
        """
        started = time.monotonic()
        try:
            code = docker("wait", self.id, deadline=stretched(deadline, most)).stdout
        except DockerTimeout:
            return None
        return Exit(int(code), time.monotonic() - started, self.logs())

    def start_again(self) -> None:
        """Start the ended container again, with its disk; its published port changes."""
        docker("start", self.id)
        self.forget_port()
        self._started = time.monotonic()

    def signal(self, name: str = "SIGTERM") -> None:
        """Send a signal to PID 1."""
        docker("kill", f"--signal={name}", self.id)

    def drops_sigterm(self) -> bool:
        """Whether the kernel drops SIGTERM here: its first process has no handler for it and does not wait for it.

        False where this machine can't see the engine's processes. Source: pid_namespaces(7).
        """
        process = Path("/proc") / str(self.state["Pid"])
        try:
            if self.id not in (process / "cgroup").read_text():
                return False
            # The kernel keeps a signal that a process waits for, and shows it in no mask meanwhile. Not everybody
            # may read where a process waits. Source: kernel/signal.c, do_sigtimedwait.
            waits = "sigtimedwait" in (process / "wchan").read_text()
            if waits or (process / "comm").read_text().strip() in INITS:
                return False
            status = (process / "status").read_text()
        except OSError:
            return False
        kept = re.findall(r"^Sig(?:Cgt|Blk):\s*([0-9a-f]+)$", status, re.MULTILINE)
        return bool(kept) and not any(int(mask, 16) >> (signal.SIGTERM - 1) & 1 for mask in kept)

    def logs(self, tail: int = 10_000) -> str:
        """Both outputs, at most the last `tail` lines."""
        done = docker("logs", f"--tail={tail}", self.id, check=False)
        return done.stdout + done.stderr

    def describe(self, what: str) -> str:
        """`what` happened to this container, with its state and last lines."""
        state = self.state
        lines = self.logs().splitlines()[-15:]
        log = "\n".join(f"    {line[:500]}" for line in lines) or "    (it printed nothing)"
        code = f", exit code {state['ExitCode']}" if state["Status"] == "exited" else ""
        return f"{self.name} {what}\nstate: {state['Status']}{code}\nlog:\n{log}"

    def save(self, folder: Path) -> Path:
        """Keep its full log and its state in `folder`; returns the log's path."""
        kept = folder / f"{self.name}-{self.id[:12]}"
        docker("inspect", self.id, log=kept.with_suffix(".json"), check=False)
        docker("logs", self.id, log=kept.with_suffix(".log"), check=False)
        return kept.with_suffix(".log")

    def remove(self) -> None:
        """Remove the container, running or not."""
        self.http.close()
        docker("rm", "--force", "--volumes", self.id, check=False)
        if self.observer:
            self.observer.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class SpaceContainer(Container):
    """A container of a Space's image, run as the Hub runs it.

    The image's user, 2 CPUs, 16 GB, no bind mount, HEALTHCHECK ignored.
    """

    @classmethod
    def start(
        cls,
        run: Run,
        image: Image,
        name: str,
        environment: Mapping[str, str],
        port: int = 7860,
        options: Sequence[str] = (),
        observer: Observer | None = None,
    ) -> Self:
        """Start `image`; the caller removes the container.

        environment: the Variables and Secrets, and what the Hub injects.
        options: further options of `docker run`.
        observer: owns the network and the published port; removed together with the container.
        Raises CannotRun when the image's command can't be run, DockerError when the engine fails.
        """
        address = "127.0.0.1" if engine.host() == "127.0.0.1" else "0.0.0.0"
        network = (
            f"--network=container:{observer.id}" if observer else f"--publish={address}::{port}"
        )
        try:
            done = docker(
                "run", "--detach", *_as_on_the_hub(run), network,
                *_variables(environment), *options, image.tag,
            )  # fmt: skip
        except DockerError as error:
            raise (
                CannotRun(str(error), error.code) if error.code in CANNOT_RUN else error
            ) from None
        return cls(name, done.stdout.split()[-1], port, observer)

    @staticmethod
    def run_to_exit(
        run: Run,
        image: Image,
        environment: Mapping[str, str],
        deadline: float,
        options: Sequence[str] = (),
        command: Sequence[str] = (),
    ) -> Exit | None:
        """Run `image` as `start` does until it ends by itself; None when it still runs after `deadline` s.

        options: further options of `docker run`. command: replaces the image's CMD.
        """
        began = time.monotonic()
        name = f"{run.id}-{secrets.token_hex(4)}"
        with subprocess.Popen(
            # A container that floods its log must not fill this process's memory.
            ["tail", "-c", "5000000"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        ) as tail:
            try:
                code = docker(
                    "run", "--rm", f"--name={name}", *_as_on_the_hub(run), *_variables(environment),
                    *options, image.tag, *command, deadline=stretched(deadline), check=False, log=tail.stdin,
                ).returncode  # fmt: skip
            except DockerTimeout:
                docker("rm", "--force", "--volumes", name, check=False)
                return None
            output = tail.communicate()[0].decode(errors="replace")
        if code == ENGINE_REFUSES and "docker: " in output:
            raise DockerError(f"the engine could not start {image.tag}:\n{output.strip()}", code)
        return Exit(code, time.monotonic() - began, output)


# First processes that wait for their signals, each in sigtimedwait.
INITS = frozenset({"tini", "docker-init", "dumb-init"})
# Exit codes of `docker run`. Source: Docker's reference of `docker run`, "Exit status".
ENGINE_REFUSES = 125
CANNOT_RUN = (126, 127)


class CannotRun(DockerError):
    """The engine could not run the image's command: it is absent or not executable."""


def stretched(deadline: float, most: float = 10) -> float:
    """The deadline in seconds, times the load per CPU of this machine: at least 1, at most `most`.

    The Hub reserves two CPUs for a Space; a busy machine must not make a sound Space look slow.
    """
    waiting = os.getloadavg()[0] / (os.cpu_count() or 1)
    return deadline * min(max(waiting, 1), most)


def _as_on_the_hub(run: Run) -> list[str]:
    user = [f"--user={HUB.user}"] if HUB.user else []
    memory = f"{HUB.memory}"
    return [
        *run.labels, "--no-healthcheck", *user, f"--cpus={min(HUB.cpus, _engine_cpus(run))}",
        f"--memory={memory}", f"--memory-swap={memory}",
        # A container that floods its log must not fill this machine's disk.
        "--log-driver=json-file", "--log-opt=max-size=5m", "--log-opt=max-file=2",
    ]  # fmt: skip


def _variables(environment: Mapping[str, str]) -> list[str]:
    return [f"--env={name}={value}" for name, value in environment.items()]


def _engine_cpus(run: Run) -> int:
    # `docker info` starts every command-line plug-in, and takes longer than most commands.
    return int(run.once("engine-cpus", lambda: docker("info", "--format", "{{.NCPU}}").stdout))
