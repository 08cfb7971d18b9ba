"""Starts a builder for each push, sees what becomes of it, and brings back what was killed."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from contextlib import suppress

import psutil
from preflight.docker import DockerError

from hub import ROOT
from hub.builder import TURN_DEADLINE
from hub.replicas import retire_all_but_serving, runs
from hub.repository import Hub, NoSuchSpace, Space, git_environment


class Builders:
    """Starts a builder for what was asked, and sees what becomes of it."""

    def __init__(self, settings: list[str]) -> None:
        self._settings = settings
        self._at_work: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, space: Space, how: str) -> None:
        """how: see `hub.builder`. A builder at work on this Space is ended by the new one."""
        if how != "restart":
            # Whoever asks for the log from now on wants this build's.
            space.build_log.unlink(missing_ok=True)
        with space.change() as state:
            state.builds += 1
            state.stage, state.error = state.stage_while("BUILDING"), None
            state.sha, number = space.head, str(state.builds)
        folder = str(space.hub.folder)
        command = [sys.executable, "-m", "hub.builder", folder, space.id, number, how]
        with (space.folder / "builder.log").open("w") as log:
            process = subprocess.Popen(
                [*command, *self._settings], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=ROOT, env=git_environment(),
                # Ctrl-C reaches the Hub alone, which then ends its builders.
                start_new_session=True,
            )  # fmt: skip
        self._at_work[space.id] = process
        threading.Thread(target=self._see, args=(space, int(number), process), daemon=True).start()

    def end(self, space: Space) -> None:
        """End the builder at work on a Space, and return when it has ended."""
        if process := self._at_work.pop(space.id, None):
            process.terminate()
            try:
                process.wait(TURN_DEADLINE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _see(self, space: Space, number: int, process: subprocess.Popen[bytes]) -> None:
        code = process.wait()
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
