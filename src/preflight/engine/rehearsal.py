"""One Space's part of a run: its image and all its containers, each made once, in parallel."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from typing import Any, Self

from preflight.engine.container import Container, SpaceContainer
from preflight.engine.edge import Edge, ThroughEdge
from preflight.engine.image import Image, build_space
from preflight.engine.layers import Contents, contents_of, home_of, uid_of
from preflight.engine.matrix import Outcome, cases, try_case
from preflight.engine.run import Run
from preflight.engine.second_life import SecondLife, lived
from preflight.engine.start import Start, environment_of, start
from preflight.model.hub_profile import HUB
from preflight.model.space import Space

# A start spends half of its time waiting for the engine, the disk and its settling.
AT_ONCE = 2 * (os.cpu_count() or 1)
# The order in which its parts are made. The edge takes a second, and needs no Space yet.
ORDER = (
    *("image", "edge", "started", "subject", "contents", "second_life", "hardened", "tried"),
    *("as_uid_1000", "isolated"),
)


class Rehearsal:
    """What a run makes of one Space. Each method waits for its outcome, and makes it if needed.

    Use it in a `with` statement, which removes the containers. Each method raises BuildError where
    the image does not build, and DockerError when the engine fails.
    """

    def __init__(self, run: Run, space: Space) -> None:
        self._run = run
        self._space = space
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._lock = threading.RLock()
        self._futures: dict[str, Future[Any]] = {}
        self._containers: list[Container] = []
        self._edges = ExitStack()

    def begin(self, wanted: Iterable[str]) -> None:
        """Call the methods named in `wanted` in the background: the observed start first, alone."""
        for name in ORDER:
            if name in wanted:
                getattr(self, f"_{name}")()

    def quiet(self) -> None:
        """Wait until the background work has ended, before a check that measures time."""
        wait(list(self._futures.values()))

    def image(self) -> Image:
        """The Space's image, built as the Hub builds it."""
        return self._image().result()

    def contents(self) -> Contents:
        """The image's layers."""
        return self._contents().result()

    def started(self) -> Start:
        """The start that all checks share. Do not stop its container."""
        return self._started().result()

    def subject(self) -> ThroughEdge | None:
        """The first start as visitors reach it on the Hub; None when it does not serve."""
        return self._subject().result()

    def hardened(self) -> Start | None:
        """A start with a read-only disk but for home and /tmp, without capabilities.

        None, as for each further start, when the first start does not serve.
        """
        return self._hardened().result()

    def as_uid_1000(self) -> Start | None:
        """A start as the user that the Hub's documentation names; `started` when it is the image's user."""
        return self._as_uid_1000().result()

    def tried(self) -> list[Outcome] | None:
        """The Space's response to each environment of its declaration's matrix."""
        futures = self._tried().result()
        return None if futures is None else [future.result() for future in futures]

    def isolated(self) -> Start | None:
        """A start whose declared dependencies accept connections and never answer."""
        return self._isolated().result()

    def second_life(self) -> SecondLife | None:
        """The outcome of a second replica."""
        return self._second_life().result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            closing = pool.submit(self._edges.close)
            list(pool.map(Container.remove, self._containers))
            closing.result()

    def _once(self, name: str, make: Callable[[], Any]) -> Future[Any]:
        # Dependencies are submitted first, so waiting tasks can't fill the pool.
        with self._lock:
            if name not in self._futures:
                self._futures[name] = self._pool.submit(make)
            return self._futures[name]

    def _kept(self, attempt: Start) -> Start:
        if attempt.container:
            self._containers.append(attempt.container)
        return attempt

    def _image(self) -> Future[Image]:
        return self._once("image", lambda: build_space(self._run, self._space))

    def _started(self) -> Future[Start]:
        image = self._image()

        def make() -> Start:
            return self._kept(start(self._run, self._space, image.result()))

        return self._once("started", make)

    def _edge(self) -> Future[Edge]:
        def make() -> Edge:
            settings = {"APP_PORT": f"{self._space.app_port}"}
            return self._edges.enter_context(Edge(self._run, {}, settings))

        return self._once("edge", make)

    def _subject(self) -> Future[ThroughEdge | None]:
        edge, serving, name = self._edge(), self._serving(), self._space.name

        def make() -> ThroughEdge | None:
            first = serving()
            if first is None:
                return None
            # Its network belongs to the observer, so that is what the edge has to reach.
            owner = first.observer.id if first.observer else first.id
            edge.result().add(name, Container(name, owner, first.port))
            return edge.result().space(name)

        return self._once("subject", make)

    def _contents(self) -> Future[Contents]:
        image = self._image()

        def make() -> Contents:
            return contents_of(self._run, image.result(), self._space.secrets_to_find)

        return self._once("contents", make)

    def _serving(self) -> Callable[[], Container | None]:
        """Yields the container of the first start, once it serves."""
        started = self._started()

        def wait_for_it() -> Container | None:
            first = started.result()
            return None if first.failure else first.container

        return wait_for_it

    def _further(
        self, name: str, options_of: Callable[[Image, Contents], list[str]]
    ) -> Future[Start | None]:
        """One more start, with these options of `docker run`; the first start when there are none."""
        serving, image, contents = self._serving(), self._image(), self._contents()

        def make() -> Start | None:
            if serving() is None:
                return None
            options = options_of(image.result(), contents.result())
            if not options:
                return self.started()
            return self._kept(
                start(
                    self._run,
                    self._space,
                    image.result(),
                    options=options,
                    observed=False,
                    deadline=self._again(),
                )
            )

        return self._once(name, make)

    def _again(self) -> float:
        """The deadline of a further start: a slow Space is as slow again."""
        return max(HUB.start_deadline, 2 * self.started().seconds)

    def _hardened(self) -> Future[Start | None]:
        return self._further("hardened", _hardening)

    def _as_uid_1000(self) -> Future[Start | None]:
        return self._further(
            "as_uid_1000",
            lambda image, contents: (
                [] if uid_of(image, contents) == HUB.uid else [f"--user={HUB.uid}"]
            ),
        )

    def _tried(self) -> Future[list[Future[Outcome]] | None]:
        serving, image, space = self._serving(), self._image(), self._space

        def make() -> list[Future[Outcome]] | None:
            declaration = space.declaration
            if serving() is None or declaration is None or not declaration.decorated:
                return None
            valid, *others = cases(declaration)
            # All other checks probe the container that runs in the valid environment.
            served: Future[Outcome] = Future()
            again = self._again()
            served.set_result(Outcome(valid, True, None, self.started().seconds))
            return [
                served,
                *(
                    self._once(
                        f"case {number}",
                        lambda case=other: try_case(self._run, space, image.result(), case, again),  # type: ignore[misc]
                    )
                    for number, other in enumerate(others)
                ),
            ]

        return self._once("tried", make)

    def _isolated(self) -> Future[Start | None]:
        serving, image, space = self._serving(), self._image(), self._space

        def make() -> Start | None:
            declaration = space.declaration
            apart = declaration.environment_without_dependencies() if declaration else None
            if apart is None or serving() is None:
                return None
            environment = environment_of(space, {**apart})
            return self._kept(
                start(
                    self._run,
                    space,
                    image.result(),
                    environment,
                    silent=True,
                    deadline=self._again(),
                )
            )

        return self._once("isolated", make)

    def _second_life(self) -> Future[SecondLife | None]:
        serving, image, space = self._serving(), self._image(), self._space

        def make() -> SecondLife | None:
            first = serving()
            if first is None:
                return None
            second = SpaceContainer.start(
                self._run, image.result(), space.name, environment_of(space), space.app_port
            )
            self._containers.append(second)
            return lived(first, second, self._again())

        return self._once("second_life", make)


def _hardening(image: Image, contents: Contents) -> list[str]:
    options = ["--read-only", "--tmpfs=/tmp:mode=1777", "--cap-drop=ALL"]
    options.append("--security-opt=no-new-privileges")
    home = home_of(image, contents)
    if home not in ("/", "/tmp"):
        # An anonymous volume starts with the image's content at that path.
        options.append(f"--volume={home}")
    return options
