"""A thread for each build of a Space; a newer one takes the place of the one at work."""

from __future__ import annotations

import threading
import traceback
from contextlib import suppress

from preflight.engine.docker import DockerError, end_commands_of
from preflight.local_hub.builder import Builder, Failed, Superseded
from preflight.local_hub.replicas import retire_all_but_serving
from preflight.local_hub.repository import Hub, NoSuchSpace, Space

# Seconds for the build at work to notice that a newer one was requested.
TURN_DEADLINE = 60


class Builders:
    """Starts a build where one is requested. At most one of a Space is at work."""

    def __init__(self) -> None:
        self._at_work: dict[str, threading.Thread] = {}
        self._changing = threading.Lock()

    def start(self, space: Space, how: str) -> None:
        """how: see `Builder.work`. The build at work on this Space is ended."""
        if how != "restart":
            # A reader of the log wants this build's from now on.
            space.build_log.unlink(missing_ok=True)
        with space.change() as state:
            state.builds += 1
            state.stage, state.error = state.stage_while("BUILDING"), None
            state.sha, number = space.head, state.builds
        with self._changing:
            before = self._at_work.get(space.id)
            thread = threading.Thread(target=_build, args=(space, number, how, before), daemon=True)
            self._at_work[space.id] = thread
            thread.start()

    def end(self, space: Space) -> None:
        """End the build at work on a Space, which sees in `State.builds` that it is overtaken."""
        with self._changing:
            thread = self._at_work.pop(space.id, None)
        if thread:
            _end(thread)

    def start_all(self, hub: Hub) -> None:
        """Start each Space of the state folder that was pushed to before."""
        for space in hub.spaces():
            if space.state.builds:
                self.start(space, "restart")


def _build(space: Space, number: int, how: str, before: threading.Thread | None) -> None:
    if before:
        _end(before)
    builder = Builder(space, number)
    # Deleted, or overtaken by a newer build: this build is no longer wanted.
    with suppress(Superseded, NoSuchSpace):
        try:
            builder.work(how)
        except Failed as failure:
            builder.mark(failure.stage, str(failure))
        except DockerError as error:
            builder.mark("BUILD_ERROR", f"Job failed: {error}")
        except Exception:
            # A fault of this Hub: the Space must not stay at BUILDING for ever.
            traceback.print_exc()
            builder.mark("BUILD_ERROR", "Job failed with exit code: 1")
        finally:
            with suppress(NoSuchSpace, DockerError):
                retire_all_but_serving(space)


def _end(thread: threading.Thread) -> None:
    """Return when the thread has ended; what it waits for of Docker is killed."""
    for _ in range(TURN_DEADLINE * 10):
        if not thread.is_alive():
            return
        end_commands_of(thread)
        thread.join(0.1)
