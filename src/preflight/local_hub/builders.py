"""A thread for each build of a Space; a newer build replaces a running build."""

from __future__ import annotations

import threading
import traceback
from contextlib import suppress

from preflight.engine.docker import DockerError, end_commands_of
from preflight.local_hub.builder import Builder, Failed, Superseded
from preflight.local_hub.replicas import retire_all_but_serving
from preflight.local_hub.repository import Hub, NoSuchSpace, Space

# Seconds for a running build to detect that a newer build was requested.
TURN_DEADLINE = 60


class Builders:
    """Starts the requested builds. At most one build of a Space runs."""

    def __init__(self) -> None:
        self._at_work: dict[str, threading.Thread] = {}
        self._changing = threading.Lock()

    def start(self, space: Space, how: str) -> None:
        """Start a build. how: see `Builder.work`. Ends a running build of this Space."""
        if how != "restart":
            # From now on, readers of the log get this build's log.
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
        """End the running build of a Space; it detects in `State.builds` that it is superseded."""
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
    # The Space was deleted, or a newer build supersedes this one.
    with suppress(Superseded, NoSuchSpace):
        try:
            builder.work(how)
        except Failed as failure:
            builder.mark(failure.stage, str(failure))
        except DockerError as error:
            builder.mark("BUILD_ERROR", f"Job failed: {error}")
        except Exception:
            # A fault of this Hub must not keep the Space at BUILDING for ever.
            traceback.print_exc()
            builder.mark("BUILD_ERROR", "Job failed with exit code: 1")
        finally:
            with suppress(NoSuchSpace, DockerError):
                retire_all_but_serving(space)


def _end(thread: threading.Thread) -> None:
    """Kill the Docker commands of the thread, and return when it has ended."""
    for _ in range(TURN_DEADLINE * 10):
        if not thread.is_alive():
            return
        end_commands_of(thread)
        thread.join(0.1)
