"""A Hub for tests: `preflight hub` on a free port, with its own state folder."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from huggingface_hub import HfApi, SpaceRuntime

from preflight.engine.edge import Edge, ThroughEdge
from preflight.engine.run import Run, remove_everything
from preflight.local_hub.repository import Hub, Space

READY_DEADLINE = 60
STOP_DEADLINE = 60


class HubInABox:
    """A running Hub; use it in a `with` statement.

    endpoint: its address, for HF_ENDPOINT and git. api: the official client, pointed at it.
    folder: where its state goes. settings: `NAME=VALUE` of the Hub's profile.
    """

    def __init__(self, folder: Path, settings: Sequence[str] = ()) -> None:
        self.folder = folder
        self._settings = [f"--hub={setting}" for setting in settings]
        # Owned by this process: a later test run removes the remains of a killed run.
        self._run = Run(folder)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, or start it again on the same state. Raises AssertionError when it does not answer."""
        self.folder.mkdir(parents=True, exist_ok=True)
        url_file = self.folder / "url"
        url_file.unlink(missing_ok=True)
        with (self.folder / "hub.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "preflight", "hub", "--state", str(self.folder), "--port=0",
                 f"--run={self._run.id}", *self._settings],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        end = time.monotonic() + READY_DEADLINE
        while not (url_file.exists() and (url := url_file.read_text())):
            ended = self._process.poll() is not None
            assert not ended and time.monotonic() < end, f"the Hub does not start:\n{self.log()}"
            time.sleep(0.02)
        self.endpoint = url
        self.api = HfApi(endpoint=url, token="hf_any_token")

    def kill(self) -> None:
        """SIGKILL to the Hub: its containers stay."""
        assert self._process
        self._process.kill()
        self._process.wait(10)

    def remote(self, space_id: str) -> str:
        """The address for `git push`."""
        return f"{self.endpoint}/spaces/{space_id}"

    def kept(self, space_id: str) -> Space:
        """The Hub's own files on a Space."""
        return Hub(self.folder).space(space_id)

    def edge(self, space_id: str) -> ThroughEdge:
        """A started Space, as visitors reach it."""
        space = self.kept(space_id)
        state = space.state
        assert state.edge and state.edge_port, f"{space_id} has not been started yet"
        edge = Edge.running(self._run, state.edge, state.edge_network, space.owner, state.edge_port)
        return edge.space(space.name)

    def wait(self, space_id: str, deadline: float = 120) -> SpaceRuntime:
        """The runtime once the builder has ended. Raises TimeoutError."""
        return self.api.wait_for_space(space_id, timeout=deadline, poll_interval=0.1)

    def log(self) -> str:
        """What the Hub printed."""
        return (self.folder / "hub.log").read_text(errors="replace")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_DEADLINE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        remove_everything(self._run.id)
