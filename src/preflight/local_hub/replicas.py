"""The containers of a Space, and their state."""

from __future__ import annotations

from preflight.engine.docker import docker
from preflight.engine.run import LABEL
from preflight.local_hub.repository import Space
from preflight.model.hub_profile import HUB

SPACE_LABEL = "dev.preflight.space"


def retire_all_but_serving(space: Space, seconds: float | None = None) -> None:
    """Stop every container of the Space but the serving one, including those of a killed builder.

    Each gets SIGTERM and `seconds` to finish its requests, by default as many as on the Hub.
    """
    state = space.state
    listed = docker(
        "ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={SPACE_LABEL}={space.id}",
        "--filter", f"label={LABEL}={space.hub.run.id}",
    ).stdout.split()  # fmt: skip
    if others := [container for container in listed if container != state.container]:
        grace = int(HUB.stop_deadline if seconds is None else seconds)
        docker("stop", f"--time={grace}", *others, check=False, deadline=grace + 30)
        docker("rm", "--force", "--volumes", *others, check=False)


def runs(container_id: str) -> bool:
    shown = docker("inspect", "--format", "{{.State.Running}}", container_id, check=False)
    return shown.stdout.strip() == "true"
