"""The build and run logs of a Space on the Hub, printed as they come."""

from __future__ import annotations

import threading

from huggingface_hub import HfApi

from preflight.cli.hub import HUB_ERRORS, SpaceId


class LogFollower:
    """Prints the build's log while the Space builds, and the container's while it starts.

    A log that the Hub does not return is left out: the stages show the progress.
    """

    def __init__(self, space: SpaceId) -> None:
        self._space = str(space)
        self._followed: set[str] = set()

    def at(self, stage: str) -> None:
        """Follow the log of a stage; each log is followed once."""
        kind = (
            "build"
            if stage.endswith("BUILDING")
            else "run"
            if stage.endswith("APP_STARTING")
            else ""
        )
        if kind and kind not in self._followed:
            self._followed.add(kind)
            threading.Thread(target=self._print, args=(kind,), daemon=True).start()

    def _print(self, kind: str) -> None:
        try:
            for line in HfApi().fetch_space_logs(self._space, build=kind == "build", follow=True):
                if line.strip():
                    print(f"  {kind}: {line.rstrip()[:400]}", flush=True)
        except HUB_ERRORS:
            return
