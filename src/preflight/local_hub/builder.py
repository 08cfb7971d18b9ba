"""One build of a Space: it builds the received commit, starts it, and switches when it is ready.

The earlier build serves until the new build answers, and keeps serving when it never does.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from preflight.engine import diagnosis
from preflight.engine.base_images import described, stood_in_for
from preflight.engine.container import CannotRun, Container, NotServing, SpaceContainer
from preflight.engine.docker import DockerError, docker
from preflight.engine.edge import Edge
from preflight.engine.image import BuildError, Image, build
from preflight.engine.start import first_answer
from preflight.local_hub.logs import keep_run_log, relayed, say
from preflight.local_hub.receive import readme_of, recognised
from preflight.local_hub.replicas import SPACE_LABEL, retire_all_but_serving, runs
from preflight.local_hub.repository import Space, State
from preflight.model.frontmatter import DEFAULT_APP_PORT, FrontMatter, FrontMatterError
from preflight.model.git import Repository
from preflight.model.hub_profile import HUB
from preflight.rules import metadata


class Superseded(Exception):
    """A newer build was requested."""


class Failed(Exception):
    """The build or the start failed; has the message of the Space's page."""

    def __init__(self, stage: str, message: str) -> None:
        super().__init__(message)
        self.stage = stage


class Builder:
    """One build of a Space, its start, and the switch to it."""

    def __init__(self, space: Space, number: int) -> None:
        self.space = space
        self.run = space.hub.run
        self.number = number

    def work(self, how: str) -> None:
        """how: `push` builds with the layer cache, `factory` without, `restart` only where needed.

        Raises Failed with the stage to show, or Superseded.
        """
        retire_all_but_serving(self.space)
        with self._change() as state:
            if state.container and not runs(state.container):
                state.container = state.serving_sha = None
            state.stage = state.stage_while("BUILDING")
        sha = state.sha
        self._tell(f"{how} of {sha[:7]}: {state.stage}")
        front = self._front_matter(sha, state)
        port = front.get("app_port", DEFAULT_APP_PORT)
        with ThreadPoolExecutor(1) as pool:
            edge = pool.submit(self._edge, port)
            if how == "restart" and state.image_sha == sha and _exists(state.image):
                image = Image(str(state.image), self.space.build_log)
            else:
                image = self._build(sha, state, fresh=how == "factory")
            self.mark(state.stage_while("APP_STARTING"))
            container = self._start(image, port, front, state)
            self._switch(edge.result(), container, port)
        with self._change() as state:
            before, state.image, state.image_sha = state.image, image.tag, sha
            state.container, state.port = container.id, port
            state.serving_sha = sha
        retire_all_but_serving(self.space)
        self.mark("RUNNING")
        if before and before != image.tag:
            docker("image", "rm", before, check=False)

    def mark(self, stage: str, error: str | None = None) -> None:
        """Show a stage. Raises Superseded."""
        with self._change() as state:
            state.stage, state.error = stage, error
        self._tell(f"{stage}: {error}" if error else stage)

    def _tell(self, what: str) -> None:
        print(f"{self.space.id}: {what}", flush=True)

    @contextmanager
    def _change(self) -> Iterator[State]:
        with self.space.change() as state:
            self._must_be_latest(state)
            yield state

    def _must_still_be_wanted(self) -> None:
        self._must_be_latest(self.space.state)

    def _must_be_latest(self, state: State) -> None:
        if state.builds != self.number:
            raise Superseded

    def _front_matter(self, sha: str, state: State) -> FrontMatter:
        readme = readme_of(self.space.git_dir, sha)
        try:
            front = FrontMatter.of_readme(readme)
        except FrontMatterError as error:
            missing = not recognised(readme)
            message = "Missing configuration in README" if missing else str(error)
            raise Failed("CONFIG_ERROR", message) from None
        if "sdk" not in front.values or any(
            problem.severity is None for problem in metadata.emoji_problems(front)
        ):
            raise Failed("CONFIG_ERROR", "Missing configuration in README")
        if front.get("sdk") != "docker":
            raise Failed("CONFIG_ERROR", "This Hub builds `sdk: docker` and no other")
        if state.variables.keys() & state.secrets.keys():
            raise Failed("CONFIG_ERROR", "Collision on variables and secrets names")
        return front

    def _build(self, sha: str, state: State, fresh: bool) -> Image:
        log = self.space.build_log
        log.unlink(missing_ok=True)
        queued = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        say(log, f"===== Build Queued at {queued} / Commit SHA: {sha[:7]} =====", "")
        name = f"{self.space.subdomain}-{sha[:7]}"
        raw = self.run.folder / f"build-{name}.log"
        raw.unlink(missing_ok=True)
        with tempfile.TemporaryDirectory(prefix="hub-build-") as scratch:
            context = Path(scratch) / "context"
            Repository(self.space.git_dir, "", sha).export(context)
            self.space.fill_lfs_pointers(context)
            if not (context / "Dockerfile").is_file():
                raise Failed("NO_APP_FILE", "No Dockerfile at the root of the repository")
            try:
                with relayed(raw, log):
                    image = build(
                        self.run,
                        name,
                        context,
                        variables={
                            key: variable["value"] for key, variable in state.variables.items()
                        },
                        secrets={key: secret["value"] for key, secret in state.secrets.items()},
                        fresh=fresh,
                    )
                if stood_in_for:
                    replaced = ", ".join(map(described, sorted(stood_in_for)))
                    say(log, f"NO IMAGE REGISTRY ANSWERED: stand-ins for {replaced}")
                return image
            except BuildError as error:
                said = raw.read_text(errors="replace") if raw.exists() else str(error)
                say(log, *re.findall(r"^ERROR: .*", said, re.M))
                code = re.search(r"exit code: (\d+)", said)
                message = f"Job failed with exit code: {code[1] if code else 1}"
                say(log, f"build error {message}")
                raise Failed("BUILD_ERROR", message) from None

    def _start(self, image: Image, port: int, front: FrontMatter, state: State) -> Container:
        owner, name = self.space.owner, self.space.name
        environment = HUB.environment(name, str(front.get("title", name)), owner)
        for given in (state.variables, state.secrets):
            environment |= {key: setting["value"] for key, setting in given.items()}
        labels = ["--label", f"{SPACE_LABEL}={self.space.id}"]
        self.space.run_log.unlink(missing_ok=True)
        try:
            container = SpaceContainer.start(self.run, image, name, environment, port, labels)
        except CannotRun as error:
            raise Failed("RUNTIME_ERROR", diagnosis.not_started(error).actual) from None
        declared = metadata.seconds_of(str(front.get("startup_duration_timeout", "")))
        deadline = min(HUB.start_deadline, declared or HUB.start_deadline)
        try:
            first_answer(container, deadline, self._must_still_be_wanted)
        except Superseded:
            # It has no requests to finish.
            container.remove()
            raise
        except NotServing:
            message = _why_not(container, deadline)
            keep_run_log(self.space, container.id)
            container.remove()
            raise Failed("RUNTIME_ERROR", message) from None
        return container

    def _edge(self, port: int) -> Edge:
        """The Space's running edge, or a new edge at the same address."""
        state = self.space.state
        if state.edge and state.edge_port and runs(state.edge):
            return Edge.running(
                self.run, state.edge, state.edge_network, self.space.owner, state.edge_port
            )
        settings = {
            "OWNER": self.space.owner,
            "APP_PORT": str(port),
            "UPDATE": "shared",
            # The address of a removed replica does not even refuse connections.
            "DIAL_TIMEOUT": "250ms",
            "VISIBILITY": "private" if state.private else "public",
        }
        try:
            edge = Edge(self.run, {}, settings, state.edge_port)
        except DockerError:
            if state.edge_port is None:
                raise
            # Another process has its port now.
            edge = Edge(self.run, {}, settings)
        with self.space.change() as state:
            state.edge, state.edge_network = edge.id, edge.network
            state.edge_port, state.edge_app_port = edge.port, port
        if state.container and port == state.port:
            edge.add(self.space.name, Container(self.space.name, state.container, port))
        return edge

    def _switch(self, edge: Edge, container: Container, port: int) -> None:
        """Let the edge reach the new replica too; it serves alone once the old replica has stopped."""
        state = self.space.state
        if state.edge_app_port != port:
            # An edge has a single app port. Nothing answers for the second that a new edge takes.
            docker("rm", "--force", "--volumes", edge.id)
            edge = self._edge(port)
        edge.switch(self.space.name, container)


def _why_not(container: Container, deadline: float) -> str:
    state = container.state
    if state["OOMKilled"]:
        return diagnosis.OUT_OF_MEMORY
    if state["Status"] != "running":
        lines = "\n".join(container.logs().splitlines()[-10:])
        return f"Exit code: {state['ExitCode']}. Reason: {lines}"
    shown = f"{deadline / 60:g} min" if deadline >= 60 else f"{deadline:g} s"
    return diagnosis.LAUNCH_TIMED_OUT.format(shown)


def _exists(image: str | None) -> bool:
    return image is not None and docker("image", "inspect", image, check=False).returncode == 0
