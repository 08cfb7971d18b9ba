"""Starts a builder for each push, sees what becomes of it, and brings back what was killed."""

from __future__ import annotations

import multiprocessing
import re
import threading
from contextlib import suppress
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess

import psutil

from preflight.engine.docker import DockerError
from preflight.local_hub import builder
from preflight.local_hub.replicas import retire_all_but_serving, runs
from preflight.local_hub.repository import Hub, NoSuchSpace, Space


class Builders:
    """Starts a builder for what was asked, and sees what becomes of it."""

    def __init__(self, settings: list[str]) -> None:
        self._settings = settings
        # A fork of a process that has everything loaded: starting Python anew would take longer than
        # what a restart does. The Hub itself has threads, so it can't be forked.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["preflight.local_hub.builder"])
        # The exit code can be read once, by whichever thread looks first; `start` looks as well.
        self._exit_codes = threading.Lock()
        self._at_work: dict[str, tuple[ForkServerProcess, threading.Thread]] = {}

    def start(self, space: Space, how: str) -> None:
        """how: see `hub.builder`. A builder at work on this Space is ended by the new one."""
        if how != "restart":
            # Whoever asks for the log from now on wants this build's.
            space.build_log.unlink(missing_ok=True)
        with space.change() as state:
            state.builds += 1
            state.stage, state.error = state.stage_while("BUILDING"), None
            state.sha, number = space.head, state.builds
        process = self._context.Process(
            target=builder.main, args=(space.hub.folder, space.id, number, how, self._settings)
        )
        with self._exit_codes:
            process.start()
        seen = threading.Thread(target=self._see, args=(space, number, process), daemon=True)
        self._at_work[space.id] = process, seen
        seen.start()

    def end(self, space: Space) -> None:
        """End the builder at work on a Space, and return when it has ended."""
        if at_work := self._at_work.pop(space.id, None):
            process, seen = at_work
            process.terminate()
            seen.join(builder.TURN_DEADLINE)
            if seen.is_alive():
                process.kill()
                seen.join()

    def _see(self, space: Space, number: int, process: ForkServerProcess) -> None:
        wait([process.sentinel])
        with self._exit_codes:
            code = process.exitcode or 0
        with suppress(NoSuchSpace, DockerError):
            with space.change() as state:
                if state.builds != number or not state.building:
                    return
                if state.serving_sha == state.sha and state.container:
                    # It was killed after the switch.
                    state.stage = "RUNNING"
                else:
                    message = f"Job failed with exit code: {code if code >= 0 else 128 - code}"
                    in_build = state.stage.endswith("BUILDING")
                    state.stage = "BUILD_ERROR" if in_build else "RUNTIME_ERROR"
                    state.error = message
            _end_abandoned_build(space)
            retire_all_but_serving(space)

    def recover(self, hub: Hub) -> None:
        """Bring each Space to where it should be: after a killed builder, Hub or container."""
        for space in hub.spaces():
            state = space.state
            died = state.container and not runs(state.container)
            if state.building or died or space.head != state.sha:
                self.start(space, "restart")


def _end_abandoned_build(space: Space) -> None:
    """Kill the `docker buildx build` that a killed builder left behind."""
    tag = re.compile(rf"--tag=preflight/{space.subdomain}-[0-9a-f]{{7}}:{space.hub.run.id}")
    for process in psutil.process_iter(["cmdline"]):
        if any(tag.fullmatch(part) for part in process.info["cmdline"] or ()):
            with suppress(psutil.NoSuchProcess):
                process.kill()
