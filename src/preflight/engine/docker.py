"""Docker commands, each with a deadline and without a shell."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any


@dataclass(frozen=True)
class Completed:
    """The result of a command: exit code, output, error output."""

    command: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str


class DockerError(Exception):
    """A Docker command failed; the message ends with its last lines.

    code: its exit code; None when it has none (it was killed, or it never ran).
    """

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class DockerTimeout(DockerError):
    """A Docker command exceeded its deadline, and was killed with its children."""


class NoDocker(DockerError):
    """The command `docker` is not installed on this machine."""


def docker(
    *arguments: str,
    deadline: float = 60,
    check: bool = True,
    log: Path | IO[bytes] | None = None,
    environment: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> Completed:
    """Run `docker ARGUMENTS`.

    deadline: seconds. check: raise DockerError on an exit code other than 0.
    log: a file, by its path or open, that receives both outputs as they come, instead of the result.
    Raises DockerTimeout and NoDocker, regardless of `check`.
    """
    command = ("docker", *arguments)
    path, stream = (log, None) if isinstance(log, Path) else (None, log)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
    with (
        path.open("ab") if path else nullcontext(stream) as sink,
        _process(
            command,
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=sink or subprocess.PIPE,
            stderr=subprocess.STDOUT if sink else subprocess.PIPE,
            env={**os.environ, **(environment or {})},
        ) as process,
    ):
        try:
            stdout, stderr = process.communicate(stdin, timeout=deadline)
        except subprocess.TimeoutExpired:
            where = f"; its output is in {path}" if path else ""
            raise _timeout(command, deadline, where) from None
    done = Completed(command, process.returncode, stdout or "", stderr or "")
    if check and done.returncode != 0:
        said = path.read_text(errors="replace") if path else done.stderr or done.stdout
        tail = "\n".join(said.strip().splitlines()[-15:])
        raise DockerError(
            f"`{_short(command)}` failed with exit code {done.returncode}:\n{tail}",
            done.returncode,
        )
    return done


def follow(container: str, deadline: float) -> Generator[str, None, None]:
    """The lines of a container's standard output, as it prints them, until it ends.

    Close the iterator to stop earlier. Raises DockerTimeout after `deadline` seconds.
    """
    command = ("docker", "logs", "--follow", container)
    overdue = threading.Event()

    def end(process: subprocess.Popen[str]) -> None:
        overdue.set()
        _kill(process)

    with _process(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        timer = threading.Timer(deadline, end, (process,))
        timer.start()
        try:
            assert process.stdout
            yield from process.stdout
        finally:
            timer.cancel()
    if overdue.is_set():
        raise _timeout(command, deadline)


@contextmanager
def _process(command: tuple[str, ...], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A command that `end_running_commands` ends too, and that does not outlive the block."""
    try:
        process = subprocess.Popen(
            command,
            # Output of a build or a container need not be UTF-8.
            encoding="utf-8",
            errors="replace",
            # A separate process group: Ctrl-C reaches only this process, which then ends the commands.
            start_new_session=True,
            **options,
        )
    except FileNotFoundError:
        raise NoDocker("the command `docker` is not installed, or not on the PATH") from None
    with _running_lock:
        if _closed:
            _kill(process)
        _running[process] = threading.get_ident()
    try:
        yield process
    finally:
        if process.poll() is None:
            _kill(process)
            process.wait(timeout=10)
        if process.stdout:
            process.stdout.close()
        with _running_lock:
            _running.pop(process, None)


def _timeout(command: tuple[str, ...], deadline: float, where: str = "") -> DockerTimeout:
    return DockerTimeout(f"`{_short(command)}` did not end within {deadline:g} s{where}")


def end_running_commands() -> None:
    """Kill every running Docker command, and refuse new commands until `reopen`."""
    global _closed
    with _running_lock:
        _closed = True
        for process in _running:
            _kill(process)


def end_commands_of(thread: threading.Thread) -> None:
    """Kill the running Docker commands of a thread; each raises DockerError there."""
    with _running_lock:
        for process, owner in _running.items():
            if owner == thread.ident:
                _kill(process)


def reopen() -> None:
    """Allow Docker commands again: for the clean-up itself."""
    global _closed
    with _running_lock:
        _closed = False


# Each command with the thread that runs it.
_running: dict[subprocess.Popen[str], int] = {}
_running_lock = threading.Lock()
_closed = False


def _kill(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _short(command: tuple[str, ...]) -> str:
    # Later arguments may hold values of Secrets.
    return " ".join(command[:4]) + (" …" if len(command) > 4 else "")
