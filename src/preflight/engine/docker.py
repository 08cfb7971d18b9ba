"""Docker commands, each with a deadline, none through a shell."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO


@dataclass(frozen=True)
class Completed:
    """What a command left: exit code, output, error output."""

    command: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str


class DockerError(Exception):
    """A Docker command failed or outlived its deadline; the message ends with its last lines."""


def docker(
    *arguments: str,
    deadline: float = 60,
    check: bool = True,
    log: Path | IO[bytes] | None = None,
    environment: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> Completed:
    """Run `docker ARGUMENTS`.

    deadline: seconds after which the command and its children are killed.
    check: raise DockerError on an exit code other than 0.
    log: a file, by its path or open, that receives both outputs as they come, instead of the result.
    """
    command = ("docker", *arguments)
    path, stream = (log, None) if isinstance(log, Path) else (None, log)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") if path else nullcontext(stream) as sink:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=sink or subprocess.PIPE,
            stderr=subprocess.STDOUT if sink else subprocess.PIPE,
            env={**os.environ, **(environment or {})},
            # Output of a build or a container need not be UTF-8.
            encoding="utf-8",
            errors="replace",
            # A group of its own: Ctrl-C reaches the suite alone, which then ends the commands.
            start_new_session=True,
        )
        with _running_lock:
            if _closed:
                _kill(process)
            _running.add(process)
        try:
            stdout, stderr = process.communicate(stdin, timeout=deadline)
        except BaseException as error:
            _kill(process)
            process.wait(timeout=10)
            if isinstance(error, subprocess.TimeoutExpired):
                where = f"; its output is in {path}" if path else ""
                raise DockerError(
                    f"`{_short(command)}` did not end within {deadline:g} s{where}"
                ) from None
            raise
        finally:
            with _running_lock:
                _running.discard(process)
    done = Completed(command, process.returncode, stdout or "", stderr or "")
    if check and done.returncode != 0:
        said = path.read_text(errors="replace") if path else done.stderr or done.stdout
        tail = "\n".join(said.strip().splitlines()[-15:])
        raise DockerError(f"`{_short(command)}` failed with exit code {done.returncode}:\n{tail}")
    return done


def first_line(container: str, deadline: float) -> str:
    """What a container prints first, as soon as it does; empty when it ends without, or says nothing for `deadline` s."""
    with subprocess.Popen(
        ("docker", "logs", "--follow", container),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    ) as process:
        overdue = threading.Timer(deadline, _kill, (process,))
        overdue.start()
        try:
            assert process.stdout
            return process.stdout.readline()
        finally:
            overdue.cancel()
            _kill(process)


def end_running_commands() -> None:
    """Kill every Docker command that is under way and refuse new ones until `reopen`."""
    global _closed
    with _running_lock:
        _closed = True
        for process in _running:
            _kill(process)


def reopen() -> None:
    """Allow Docker commands again: for the clean-up itself."""
    global _closed
    with _running_lock:
        _closed = False


_running: set[subprocess.Popen[str]] = set()
_running_lock = threading.Lock()
_closed = False


def _kill(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _short(command: tuple[str, ...]) -> str:
    # Later arguments may hold values of Secrets.
    return " ".join(command[:4]) + (" …" if len(command) > 4 else "")
