"""`preflight check --repeat N`: how much the starts of a Space differ, and which phase is slowest."""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from statistics import median

from preflight.engine import install
from preflight.engine.docker import DockerError
from preflight.engine.image import build_space
from preflight.engine.run import Run, remove_everything
from preflight.engine.start import start
from preflight.model.environment import EnvironmentDeclarationError
from preflight.model.space import SpaceError, space_of_folder
from preflight.pytest_plugin.folders import in_the_cache


def repeat(folder: Path, count: int) -> int:
    """Start the Space in `folder` `count` times; returns 0 when each start served, 1 when not, 2 when
    it could not judge."""
    try:
        return _repeat(folder, count)
    except (SpaceError, EnvironmentDeclarationError, DockerError) as error:
        print(f"check --repeat: {error}", file=sys.stderr)
        return 2


def _repeat(folder: Path, count: int) -> int:
    space = space_of_folder(folder)
    install.ensure()
    run = Run(in_the_cache(Path.cwd()))
    seconds: list[float] = []
    phases: dict[str, list[float]] = defaultdict(list)
    failures = []
    try:
        image = build_space(run, space)
        for number in range(1, count + 1):
            started = start(run, space, image)
            if started.failure:
                failures.append(started.failure.actual)
                print(f"start {number}: does not serve: {started.failure.actual.splitlines()[0]}")
            else:
                seconds.append(started.seconds)
                print(f"start {number}: serves after {started.seconds:.2f} s", flush=True)
            for step in started.timeline:
                phases[str(step["name"])].append(step["end"] - step["start"])
            if started.container:
                started.container.remove()
    finally:
        remove_everything(run.id)
    print(f"\n{space.name}: {len(seconds)} of {count} starts serve")
    if seconds:
        print(
            f"first answer: {min(seconds):.2f} to {max(seconds):.2f} s, median {median(seconds):.2f} s"
        )
    if phases:
        slowest = max(phases, key=lambda name: median(phases[name]))
        print(f"slowest phase: {slowest}, median {median(phases[slowest]):.2f} s")
    return 1 if failures else 0
