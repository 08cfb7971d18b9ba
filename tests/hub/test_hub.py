"""A Hub in a box takes pushes as the Hub does."""

from __future__ import annotations

from preflight.hub import HubInABox

from .conftest import Clone


def test_a_push_is_built_and_served(hub: HubInABox, clone: Clone, new_space: str) -> None:
    """The stages must be the Hub's, and the Space must answer through its edge."""
    clone.git("push", "--force", hub.remote(new_space), "main")

    runtime = hub.wait(new_space)

    assert runtime.stage == "RUNNING", runtime.raw
    assert hub.edge(new_space).get("/").status_code == 200
