"""The two logs of a Space, as the Hub shows them: each line an event `{"data": …, "timestamp": …}`.

The builder writes the build's log from BuildKit's; the replica's log is the engine's.
"""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from preflight.engine.docker import docker
from preflight.local_hub.repository import Space, now


def build_log(space: Space) -> Iterator[dict[str, str]]:
    """The last build's log, followed while it is written."""
    position = 0
    while True:
        building = space.state.stage.endswith("BUILDING")
        if space.build_log.is_file():
            with space.build_log.open("rb") as file:
                file.seek(position)
                for line in file:
                    if line.endswith(b"\n"):
                        position += len(line)
                        yield json.loads(line)
        if not building:
            return
        time.sleep(0.1)


def run_log(space: Space) -> Iterable[dict[str, str]]:
    """The log of the replica that serves, or of one that failed to start after it."""
    if space.run_log.is_file():
        return [json.loads(line) for line in space.run_log.read_text().splitlines()]
    container = space.state.container
    return _of_container(container, follow=True) if container else []


def keep_run_log(space: Space, container_id: str) -> None:
    """Keep the log of a replica that is about to be removed."""
    with space.run_log.open("w") as log:
        log.writelines(json.dumps(event) + "\n" for event in _of_container(container_id))


def say(log: Path, *lines: str) -> None:
    """Add lines to a build's log."""
    with log.open("a") as file:
        for line in lines:
            file.write(json.dumps({"data": f"{line}\n", "timestamp": now()}) + "\n")


@contextmanager
def relayed(raw: Path, log: Path) -> Iterator[None]:
    """While the block runs, copy BuildKit's output in `raw` to `log`, in the Hub's format."""
    ended = threading.Event()

    def relay() -> None:
        translate, position = _HubShape(), 0
        while True:
            last = ended.wait(0.1)
            *lines, _ = (raw.read_bytes() if raw.exists() else b"")[position:].split(b"\n")
            position += sum(len(line) + 1 for line in lines)
            say(log, *(out for line in lines for out in translate(line.decode("utf-8", "replace"))))
            if last:
                return

    thread = threading.Thread(target=relay)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _of_container(container_id: str, follow: bool = False) -> Iterator[dict[str, str]]:
    """The log of a container as the Hub's API gives it; with `follow`, until the container ends."""
    shown = docker("inspect", "--format", "{{.State.StartedAt}}", container_id).stdout
    began = f"===== Application Startup at {shown[:19].replace('T', ' ')} ====="
    yield {"data": f"{began}\n\n", "timestamp": f"{shown[:19]}.000Z"}
    command = ["docker", "logs", "--timestamps", *["--follow"] * follow, container_id]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            stamp, _, text = line.decode("utf-8", "replace").partition(" ")
            yield {"data": text, "timestamp": f"{stamp[:23]}Z"}
    finally:
        process.kill()
        process.wait()


class _HubShape:
    """BuildKit's plain progress, line by line, as the Hub's build log shows it.

    `#6 [2/4] RUN x`, `#6 0.1 said`, `#6 DONE 0.2s` become `--> RUN x`, `said`, `DONE 0.2s`.
    Source: hub-docs spaces-sdks-docker-first-demo.md; logs in forum reports.
    """

    def __init__(self) -> None:
        self._titles: dict[str, str] = {}
        self._current = ""

    def __call__(self, line: str) -> list[str]:
        numbered = re.match(r"#(\d+) (.*)", line)
        if not numbered:
            return []
        number, text = numbered.groups()
        step = re.match(r"\[[^\]]*\d+/\d+\] (.*)", text)
        if step or text == "exporting to image":
            self._titles[number] = step[1] if step else "Pushing image"
            return self._under(number)
        said = re.match(r"\d+\.\d+ (.*)|((?:DONE|CACHED|ERROR).*)", text)
        if number not in self._titles or not said:
            return []
        return [*self._under(number), said[1] or said[2] or "", *([""] if said[2] else [])]

    def _under(self, number: str) -> list[str]:
        # The lines of parallel steps alternate in the log.
        if number == self._current:
            return []
        self._current = number
        return [f"--> {self._titles[number]}"]
