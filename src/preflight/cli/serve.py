"""`preflight serve`: run and frame a Space on this machine as the Hub does; rebuild it on change."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import click

from preflight.cli.watch import LOOK_EVERY, state_of
from preflight.engine import install
from preflight.engine.container import Container
from preflight.engine.docker import DockerError, docker
from preflight.engine.edge import Edge
from preflight.engine.image import BuildError, Image, build
from preflight.engine.observer import Connection
from preflight.engine.run import Run
from preflight.engine.start import Start, start
from preflight.model.environment import EnvironmentDeclarationError
from preflight.model.hub_profile import HUB
from preflight.model.space import Space, SpaceError, space_of_folder


def main(folder: Path, watch: bool, port: int, owner: str) -> int:
    """Serve until Ctrl-C; returns the exit code, 2 when the Space can't be served."""
    try:
        space = space_of_folder(folder)
        install.ensure()
        return Server(space, owner, port).run(watch)
    except (SpaceError, EnvironmentDeclarationError, DockerError) as error:
        click.echo(f"serve: {error}", err=True)
        return 2
    except KeyboardInterrupt:
        click.echo("\nstopped; nothing is left running.")
        return 0


class Server:
    """One Space behind its own edge. Everything that it starts ends with `run`."""

    def __init__(self, space: Space, owner: str, port: int) -> None:
        self._space, self._owner, self._port = space, owner, port
        label = HUB.host(space.name, owner).removesuffix(".hf.space")
        self.address = f"https://{label}.hf.localhost:{port}"
        self.page = f"https://huggingface.localhost:{port}/spaces/{owner}/{space.name}"
        assert space.source
        self._folder = space.source
        self._serving: Container | None = None
        self._builds = 0

    def run(self, watch: bool) -> int:
        """Serve until interrupted; returns 1 when the Space does not start and nothing is watched."""
        run = Run(Path.home() / ".cache" / "preflight" / "serve")
        try:
            settings = {
                "APP_PORT": f"{self._space.app_port}",
                "OWNER": self._owner,
                "UPDATE": "shared",
            }
            settings |= {
                "FRAMED": self.address,
                "FRAMED_AS": f"/spaces/{self._owner}/{self._space.name}",
            }
            with Edge(run, {}, settings, self._port) as edge:
                if not self._replace(run, edge) and not watch:
                    return 1
                click.echo(f"\n{self.address}\n  in the Hub's frame: {self.page}")
                click.echo("  Accept the certificate. Ctrl-C stops it.\n")
                self._watch(run, edge, watch)
        finally:
            run.remove(keep_material=False)

    def _watch(self, run: Run, edge: Edge, watch: bool) -> NoReturn:
        before = state_of([self._folder])
        while True:
            time.sleep(LOOK_EVERY)
            if watch and (now := state_of([self._folder])) != before:
                before = now
                click.echo("changed: rebuilding …")
                self._replace(run, edge)

    def _replace(self, run: Run, edge: Edge) -> bool:
        """Build and start the Space; it replaces the serving container once it answers."""
        self._builds += 1
        clock = time.monotonic()
        try:
            image = build(run, f"{self._space.name}-{self._builds}", self._folder)
        except BuildError as error:
            click.echo(f"the build failed; {self._goes_on()}\n{error}", err=True)
            return False
        started = self._start(run, image)
        if started.failure or started.container is None:
            failure = started.failure
            why = (
                f"{failure.actual}\nfix: {failure.fix}"
                if failure
                else "the container did not start"
            )
            click.echo(f"it does not serve; {self._goes_on()}\n{why}", err=True)
            if started.container:
                started.container.remove()
            return False
        container = started.container
        owner = container.observer.id if container.observer else container.id
        edge.switch(self._space.name, Container(container.name, owner, container.port))
        previous, self._serving = self._serving, container
        if previous:
            previous.remove()
        self._follow(container)
        click.echo(f"serves after {time.monotonic() - clock:.1f} s")
        return True

    def _start(self, run: Run, image: Image) -> Start:
        return start(run, self._space, image)

    def _follow(self, container: Container) -> None:
        """Print the container's log and its outgoing connections as they appear."""
        threading.Thread(target=_copy_log, args=(container,), daemon=True).start()
        if container.observer:
            threading.Thread(target=_say_connections, args=(container,), daemon=True).start()

    def _goes_on(self) -> str:
        return "what served before goes on" if self._serving else "nothing serves yet"


def _copy_log(container: Container) -> None:
    shown = 0
    while _is_there(container):
        lines = container.logs().splitlines()
        for line in lines[shown:]:
            click.echo(f"  log: {line}")
        shown = len(lines)
        time.sleep(LOOK_EVERY)


def _say_connections(container: Container) -> None:
    known: set[str] = set()
    assert container.observer
    while _is_there(container):
        for connection in _quietly(container.observer.connections):
            if str(connection) not in known:
                known.add(str(connection))
                click.echo(f"  connects to {connection}")
        time.sleep(2 * LOOK_EVERY)


def _quietly(look: Callable[[], list[Connection]]) -> list[Connection]:
    try:
        return look()
    except (DockerError, json.JSONDecodeError):
        # The container has ended.
        return []


def _is_there(container: Container) -> bool:
    done = docker("inspect", "--format", "{{.State.Running}}", container.id, check=False)
    return done.stdout.strip() == "true"
